// SPDX-License-Identifier: BSD-2-Clause
// What the kernel side is told about a process: where its code is, and which of its threads are workers.
#pragma once

#include "process/target.h"
#include "support/error.h"

struct fiberprof_bpf;

namespace fiberprof {

class SnapshotReader;

// Puts the process among those that are watched. Fails when there are too many.
Result<void> add_process(const fiberprof_bpf& skeleton, const FiberProcess& process);

// Workers that run already. Later ones announce themselves (worker_start), so that probe is attached before. Those for
// which there is no room are counted by `reader`. Errors: there is no registry, or it cannot be read.
Result<void> add_workers(const fiberprof_bpf& skeleton, const FiberProcess& process, SnapshotReader& reader);

}  // namespace fiberprof
