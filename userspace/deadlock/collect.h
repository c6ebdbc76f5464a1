// SPDX-License-Identifier: BSD-2-Clause
// Reads the state a verdict is made from (state.h).
#pragma once

#include "deadlock/state.h"
#include "support/error.h"

namespace fiberprof {

// Of memory that does not change: a core file, or a process that stands still.
Result<State> collect_frozen(RegistryView& view);

// Of a process that goes on. What changes meanwhile counts as alive; so a state of it proves as much as a frozen one,
// about fewer fibers. Takes two passes over the registry and of each object; where a read-locked lock may have lost its
// readers, some more, for at most a tenth of a second. Unless `whole`, it holds only those fibers in question after a
// look at what each waits for: all a verdict by identity needs, and of a million that wait for messages next to
// nothing.
Result<State> collect_live(RegistryView& view, bool whole);

// Of those fibers, takes away `settled` from all that are not, or no longer, in the queue of each object they wait for:
// somebody has woken them, and they have not been seen to run yet. For a live process after a first look, for it is
// costly; a frozen state has it done. Reads their names. True: one was.
bool confirm_queued(RegistryView& view, State& state, const std::vector<size_t>& fibers);

}  // namespace fiberprof
