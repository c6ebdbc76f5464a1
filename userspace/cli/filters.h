// SPDX-License-Identifier: BSD-2-Clause
// Options that say which waits a command is about: the same for record and top.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "session/session.h"
#include "support/error.h"

namespace fiberprof {

struct WaitFilter {
  uint64_t min_wait_ns = 0;
  std::vector<std::string> reasons, fibers, sites;
};

// `filter` must outlive parsing.
void add_wait_filter(CLI::App& app, WaitFilter& filter);
// Errors: an unknown reason.
Result<void> apply(const WaitFilter& filter, SessionOptions& session);

}  // namespace fiberprof
