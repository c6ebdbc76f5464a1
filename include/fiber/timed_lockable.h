// SPDX-License-Identifier: BSD-2-Clause
// What the standard library's timed locks are asked for (TimedLockable, SharedTimedLockable), for locks that take a
// Limit.
#pragma once

#include <chrono>

#include "fiber/limit.h"

namespace fiber::detail {

// `Lock` derives from it and has `Status lock(Limit)`.
template <class Lock>
struct TimedLockable {
  bool try_lock_until(Deadline deadline) { return static_cast<Lock*>(this)->lock(deadline) == Status::done; }
  template <class Rep, class Period>
  bool try_lock_for(std::chrono::duration<Rep, Period> time) {
    return static_cast<Lock*>(this)->lock(time) == Status::done;
  }
};

// And `Status lock_shared(Limit)`.
template <class Lock>
struct SharedTimedLockable : TimedLockable<Lock> {
  bool try_lock_shared_until(Deadline deadline) {
    return static_cast<Lock*>(this)->lock_shared(deadline) == Status::done;
  }
  template <class Rep, class Period>
  bool try_lock_shared_for(std::chrono::duration<Rep, Period> time) {
    return static_cast<Lock*>(this)->lock_shared(time) == Status::done;
  }
};

}  // namespace fiber::detail
