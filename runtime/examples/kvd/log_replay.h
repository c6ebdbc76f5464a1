// SPDX-License-Identifier: BSD-2-Clause
// Reads a log from its start, as after a crash.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "log_format.h"
#include "store.h"

namespace kvd {

struct ReplayResult {
  std::string error;             // not empty: the log cannot be used; says why and what to do
  std::uint64_t groups = 0;      // whole ones
  std::uint64_t records = 0;     // in them
  std::uint64_t good_bytes = 0;  // where the next group belongs
  std::uint64_t torn_bytes = 0;  // behind them: the group that was being written at the crash
  std::uint64_t salt = 0;
};

// Calls apply(record) for every record of every whole group, in order. Does not change the file. `fd` is a regular
// file whose header is whole. Reads ahead no more than one group.
ReplayResult replay(int fd, const std::function<void(const Record&)>& apply);

// What a record does to the store. Fibers only.
void apply(const Record& record, Store& store);

}  // namespace kvd
