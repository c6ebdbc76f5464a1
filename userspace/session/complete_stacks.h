// SPDX-License-Identifier: BSD-2-Clause
// Off-CPU stacks as people shall see them: their inner ends completed.
#pragma once

#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "session/snapshot.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

class StackCompleter {
 public:
  // Changes the user stacks of `snapshot.off_cpu` in place:
  //   - they get the callers that code without frame pointers hides (LeafSnapshot);
  //   - one of a worker that is about to enter a fiber ends at the worker's loop: the thread's start is not the
  //   fiber's.
  // Keeps what it has found out, since a stack never changes: for snapshots of one session only.
  void complete(Snapshot& snapshot, const std::map<uint32_t, std::unique_ptr<ProcessSymbols>>& symbols);

 private:
  std::unordered_map<StackId, std::vector<uint64_t>> known_;
};

}  // namespace fiberprof
