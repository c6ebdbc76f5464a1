// SPDX-License-Identifier: BSD-2-Clause
// Time: sleeping, and deadlines of other waits.
#pragma once

#include <chrono>

#include "fiber/config.h"

namespace fiber {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;  // Deadline::max(): never

// Parks the calling fiber until then; at once when that has passed. On a thread that is no fiber: sleeps the thread.
FIBER_API void sleep_until(Deadline when);

template <class Rep, class Period>
void sleep_for(std::chrono::duration<Rep, Period> time) {
  if (time > time.zero()) sleep_until(Clock::now() + std::chrono::duration_cast<Clock::duration>(time));
}

}  // namespace fiber
