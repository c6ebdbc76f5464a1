// SPDX-License-Identifier: BSD-2-Clause
// Time: sleeping.
#pragma once

#include "fiber/config.h"
#include "fiber/limit.h"

namespace fiber {

// Parks the calling fiber until then; at once when that has passed. On a thread that is no fiber: sleeps the thread.
FIBER_API void sleep_until(Deadline when);
// The same, but no longer than `limit`: done when `when` was reached.
FIBER_API Status sleep_until(Deadline when, const Limit& limit);

template <class Rep, class Period>
void sleep_for(std::chrono::duration<Rep, Period> time) {
  if (time > time.zero()) sleep_until(detail::deadline_after(time));
}
template <class Rep, class Period>
Status sleep_for(std::chrono::duration<Rep, Period> time, const Limit& limit) {
  return sleep_until(detail::deadline_after(time), limit);
}

}  // namespace fiber
