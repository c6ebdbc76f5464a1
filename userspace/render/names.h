// SPDX-License-Identifier: BSD-2-Clause
// Words and rules for what the contracts number, beyond those of session/names.h.
#pragma once

#include <cstdint>
#include <string>

#include "session/snapshot.h"

namespace fiberprof {

std::string processor_state_name(uint32_t state);  // FIBERPROF_PROCESSOR_*: "running"

// A worker without a fiber that went to sleep by itself: healthy, and in no sum of waiting. One that was preempted or
// had a page fault between two fibers is not idle.
bool is_idle(const OffCpuEntry& entry);

}  // namespace fiberprof
