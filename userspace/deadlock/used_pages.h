// SPDX-License-Identifier: BSD-2-Clause
// Which pages of a live process are there, without making any.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "deadlock/ranges.h"
#include "support/error.h"
#include "support/unique_fd.h"

namespace fiberprof {

class UsedPages {
 public:
  // `label`: of the process, for messages.
  explicit UsedPages(std::string label) : label_(std::move(label)) {}
  Result<void> open(uint32_t pid);

  // Calls `found` with the parts of `range` that are present or swapped out, in ascending order. Since Linux 6.7 in
  // time that goes with what is there; before, with the length of `range`, and an error ends what would take minutes: a
  // program can have terabytes of addresses reserved (AddressSanitizer's shadow) of which it uses little.
  Result<void> in(Range range, const std::function<void(Range)>& found);

  // What of all that in() may go through by entries, in bytes of addresses: 64 GiB are 128 MiB of entries.
  static constexpr uint64_t kMaxByEntries = uint64_t{64} << 30;
  // Only for tests: as on a kernel before 6.7.
  void without_scan() { scan_ = false; }

 private:
  Result<void> by_scan(Range range, const std::function<void(Range)>& found);
  Result<void> by_entries(Range range, const std::function<void(Range)>& found);

  std::string label_;
  UniqueFd pagemap_;
  bool scan_ = true, knows_guards_ = true;
  std::vector<uint64_t> entries_;
};

}  // namespace fiberprof
