// SPDX-License-Identifier: BSD-2-Clause
// For random programs that go on when a fiber waits.
#pragma once

#include <cstdint>

#include "context/sanitizer.h"
#include "runtime/observe.h"

// Yields until that fiber is parked, or has ended; whatever queue it waits in, it is in there then.
inline void await_parked(std::uint64_t id) {
  for (const std::uint64_t fiber : observe::fibers()) {
    if (OBSERVE(fiber, fiber, id) != id) continue;
    while (OBSERVE(fiber, fiber, id) == id && OBSERVE(fiber, fiber, state) != FIBERPROF_FIBER_PARKED) fiber::yield();
    return;
  }
}

// How many programs of a kind: they are slow with ThreadSanitizer.
constexpr std::uint64_t programs(std::uint64_t wanted) { return FIBER_TSAN ? wanted / 10 : wanted; }
