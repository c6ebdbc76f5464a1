// SPDX-License-Identifier: BSD-2-Clause
// Waits still in flight, from the registry: a fiber that has been blocked all the time has no event.
#pragma once

#include <cstdint>

#include "process/registry_view.h"
#include "session/fiber_filter.h"
#include "session/profile_builder.h"

namespace fiberprof {

struct OpenWaitLimits {
  uint64_t start_ns = 0;  // waits count from here at the earliest (CLOCK_MONOTONIC)
  uint64_t now_ns = 0;
  uint64_t min_wait_ns = 0;
  uint32_t reasons = ~0u;
  const FiberSelection* fibers = nullptr;  // null: all
  uint64_t max_fibers = 1'000'000;
  uint64_t max_walk_ns = 2'000'000'000;  // after that waits are counted without their stacks
};

struct OpenWaitCounts {
  uint64_t waits = 0;
  uint64_t torn = 0;           // entries that changed while they were read: those fibers are running again
  uint64_t without_stack = 0;  // out of time
};

// Adds every parked fiber's wait to `builder`, those with the same reason, name and stack as one sample.
Result<OpenWaitCounts> add_open_waits(uint32_t pid, RegistryView& registry, const OpenWaitLimits& limits,
                                      ProfileBuilder& builder);

}  // namespace fiberprof
