// SPDX-License-Identifier: BSD-2-Clause
// Read-locks that their fibers took along when they ended.
#pragma once

#include "deadlock/state.h"

namespace fiberprof {

// Fills in ObjectState::orphaned of the locks that a writer waits for at the head of the queue, where it can be known.
//
// While a writer waits in front nobody enters, so the readers inside stay the same as long as their number does. A
// reader's record names the lock from a moment after it was let in, in which it runs without leaving its processor,
// until it leaves. So when everybody that ran, or could have run, at the beginning has been seen to leave its processor
// once, all readers inside that are fibers have the lock in their records; the rest of the number are fibers that have
// ended, or threads, whose holds the registry counts. Waits for that a tenth of a second at most.
void settle_readers(RegistryView& view, ObjectReader& reader, State& state);

}  // namespace fiberprof
