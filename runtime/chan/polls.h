// SPDX-License-Identifier: BSD-2-Clause
// Polls that moved nothing, counted for tools: fiberprof_fiber.polls in fiberprof/registry.h.
//
// That a fiber has waited is not noted here, where waits would have to pay for it: every wait writes its reason to the
// fiber's record, so a reason is there exactly if the fiber has waited since its last poll.
#pragma once

#include "registry/registry.h"
#include "sched/this_worker.h"

namespace fiber::detail {

// `caller`: where the program asked.
[[gnu::noinline]] void poll_moved_nothing(const void* caller);

inline void poll_moved() {
  if (Fiber* fiber = this_fiber()) publish(fiber->record.polls_of, std::uint64_t{0});
}

[[gnu::always_inline]] inline void polled(bool moved, const void* caller) {
  if (moved) [[likely]] {
    poll_moved();
  } else {
    poll_moved_nothing(caller);
  }
}

}  // namespace fiber::detail
