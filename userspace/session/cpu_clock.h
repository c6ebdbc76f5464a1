// SPDX-License-Identifier: BSD-2-Clause
// The clock of every CPU as a source of samples: a program that is run so many times a second of each CPU that is busy.
#pragma once

#include <vector>

#include "session/bpf_handles.h"
#include "support/error.h"

struct bpf_program;

namespace fiberprof {

// Not a divisor of what programs do ten or a hundred times a second, or samples would come in step with it.
inline constexpr uint32_t kCpuClockHz = 99;

// Attaches `program` (type perf_event) to the software clock of each CPU that is online. Needs CAP_PERFMON.
Result<std::vector<UniqueLink>> attach_cpu_clock(const bpf_program* program, int cpus);

}  // namespace fiberprof
