// SPDX-License-Identifier: BSD-2-Clause
// The words people read for the numbers of the contracts and of the kernel. The one place for them: recordings, the
// live screen and JSON use the same.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "session/snapshot.h"

namespace fiberprof {

std::string reason_name(uint8_t reason);            // FIBERPROF_REASON_*: "chan receive"; "reason 99" when unknown
std::string fiber_state_name(uint8_t state);        // FIBERPROF_FIBER_*: "parked"
std::string processor_state_name(uint32_t state);   // FIBERPROF_PROCESSOR_*: "running"

// Why a worker thread was off its CPU: "preempted", "futex wait", "page fault", "epoll_wait", "fsync (disk)".
std::string off_cpu_name(const OffCpuEntry& entry);

// A worker without a fiber that went to sleep by itself: healthy, and in no sum of waiting. One that was preempted or
// had a page fault between two fibers is not idle.
bool is_idle(const OffCpuEntry& entry);

// The counters of `losses` that are not zero, by their field's name.
std::map<std::string, uint64_t> loss_counts(const Losses& losses);

}  // namespace fiberprof
