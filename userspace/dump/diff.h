// SPDX-License-Identifier: BSD-2-Clause
// Two dumps compared: which groups of waiting fibers are new, and which have grown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "support/error.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

struct DiffSide {
  std::string path, process;  // as the dump says: its name
  uint64_t pid = 0, taken_unix_ns = 0;
  uint64_t fibers = 0;   // all of them
  bool complete = true;  // no filter, and not cut to some rows
};

// Fibers with the same spawn site, state, reason and stack, by the names of functions: neither addresses nor lines,
// which move from build to build.
struct DiffGroup {
  std::string state, reason, name;
  std::vector<Frame> stack;   // innermost first; of the newer dump where it is in both
  std::optional<Frame> site;  // where they were spawned
  uint64_t base = 0, now = 0;
  uint64_t oldest_ns = 0;  // in the newer dump
  bool over = false;       // beyond the limit
};

struct DiffLimits {
  std::optional<double> percent;  // growth beyond it, and any new group, is over the limit; none: nothing is
  uint64_t least = 1;             // groups of fewer fibers in the newer dump are never over
};

struct DumpDiff {
  DiffSide base, now;
  std::vector<DiffGroup> changed;  // over the limit first, then by how many fibers came or went
  uint64_t same = 0;               // groups
  uint64_t over = 0;               // groups over the limit
};

// Of dumps in JSON, grouped or not. Fibers that run or are about to are left out: they come and go.
// Errors: cannot be read; not such dumps, or two that do not fit together.
Result<DumpDiff> diff_dumps(const std::string& base, const std::string& now, const DiffLimits& limits);

}  // namespace fiberprof
