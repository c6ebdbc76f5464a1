// SPDX-License-Identifier: BSD-2-Clause
// The chains of wake-ups in the kernel's maps, into a Snapshot.
#pragma once

#include "session/snapshot.h"
#include "support/error.h"

struct fiberprof_bpf;

namespace fiberprof {

// Adds every chain that an entry of `snapshot.blocked` names.
Result<void> read_chains(const fiberprof_bpf& skeleton, Snapshot& snapshot);

}  // namespace fiberprof
