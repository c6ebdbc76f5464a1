// SPDX-License-Identifier: BSD-2-Clause
#include "probe/emit.h"
#include "sched/this_worker.h"
#include "sync/waiter.h"

namespace fiber {

using namespace detail;

void Condition::wait(std::unique_lock<Mutex>& lock) { wait_until(lock, Deadline::max()); }

bool Condition::wait_until(std::unique_lock<Mutex>& lock, Deadline deadline) {
  if (!lock.owns_lock()) fatal("condition %p waited for without its mutex held", static_cast<void*>(this));
  Waiter waiter;
  waiter.fiber = this_fiber();
  Claim wait(waiter.fiber);
  const bool timed = deadline != Deadline::max();
  {
    SpinGuard guard(waiters_.lock);
    if (timed) waiter.wait = &wait;
    enqueue_waiter(waiters_, waiter);
    // After joining the queue: a notification between here and the switch finds this waiter.
    lock.unlock();
    if (!timed) park_locked(Reason::CONDITION, address_of(this), guard.hand_over());
  }
  if (timed) {
    park_claimed(Reason::CONDITION, address_of(this), wait, deadline);
    SpinGuard guard(waiters_.lock);
    remove_waiter(waiters_, waiter);
  } else {
    waiter.success = true;
  }
  lock.lock();
  return waiter.success;
}

void Condition::notify_one() {
  Fiber* woken = nullptr;
  {
    SpinGuard guard(waiters_.lock);
    if (Waiter* waiter = pop_waiter(waiters_)) {
      waiter->success = true;
      if (waiter->wait == nullptr) woken = waiter->fiber;
    }
  }
  if (woken != nullptr) ready(woken);
}

void Condition::notify_all() {
  SpinGuard guard(waiters_.lock);
  while (Waiter* waiter = pop_waiter(waiters_)) {
    waiter->success = true;
    // The waiter's memory is its own again as soon as it runs.
    if (waiter->wait == nullptr) ready(waiter->fiber, ReadyHint::last);
  }
}

}  // namespace fiber
