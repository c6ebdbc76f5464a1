// SPDX-License-Identifier: BSD-2-Clause
// For tests that go on when a fiber waits.
#pragma once

#include <cstdint>

#include "runtime/observe.h"

// Yields until that fiber is parked; whatever queue it waits in, it is in there then.
inline void await_parked(std::uint64_t id) {
  for (;; fiber::yield()) {
    for (const std::uint64_t fiber : observe::fibers()) {
      if (OBSERVE(fiber, fiber, id) == id && OBSERVE(fiber, fiber, state) == FIBERPROF_FIBER_PARKED) return;
    }
  }
}
