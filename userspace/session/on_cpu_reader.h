// SPDX-License-Identifier: BSD-2-Clause
// The time of worker threads out of the kernel maps.
#pragma once

#include "session/snapshot.h"
#include "support/error.h"

struct fiberprof_bpf;

namespace fiberprof {

// Fills `on_cpu` and `worker_times`. `time_ns` of the snapshot must be set.
Result<void> read_on_cpu(const fiberprof_bpf& skeleton, Snapshot& snapshot);

}  // namespace fiberprof
