// SPDX-License-Identifier: BSD-2-Clause
// Off-CPU stacks as people shall see them: their inner ends completed.
#pragma once

#include <map>
#include <memory>

#include "session/snapshot.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

// Changes the user stacks of `snapshot.off_cpu` and `.on_cpu` in the snapshot's table, each once:
//   - they get the callers that code without frame pointers hides (LeafSnapshot);
//   - one of a worker that is about to enter a fiber ends at the worker's loop: the thread's start is not the fiber's.
void complete_stacks(Snapshot& snapshot, const std::map<uint32_t, std::unique_ptr<ProcessSymbols>>& symbols);

}  // namespace fiberprof
