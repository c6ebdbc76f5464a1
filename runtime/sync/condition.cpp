// SPDX-License-Identifier: BSD-2-Clause
#include "probe/emit.h"
#include "sched/this_worker.h"
#include "sync/waiter.h"

namespace fiber {

using namespace detail;

void Condition::wait(std::unique_lock<Mutex>& lock) { wait(lock, Limit()); }

Status Condition::wait(std::unique_lock<Mutex>& lock, Limit limit) {
  if (!lock.owns_lock()) fatal("condition %p waited for without its mutex held", static_cast<void*>(this));
  Waiter waiter;
  waiter.fiber = this_fiber();
  Status status;
  {
    SpinGuard guard(waiters_.lock);
    // Nobody can notify before the waiter is in the queue: the guard is held until then.
    lock.unlock();
    status = wait_in(waiters_, waiter, Reason::CONDITION, address_of(this), guard, limit);
  }
  lock.lock();
  return status;
}

void Condition::notify_one() {
  Fiber* woken = nullptr;
  {
    SpinGuard guard(waiters_.lock);
    Waiter* waiter = pop_waiter(waiters_);
    if (waiter != nullptr && waiter->wait == nullptr) woken = waiter->fiber;
  }
  if (woken != nullptr) ready(woken);
}

void Condition::notify_all() {
  SpinGuard guard(waiters_.lock);
  while (Waiter* waiter = pop_waiter(waiters_)) {
    // The waiter's memory is its own again as soon as it runs.
    if (waiter->wait == nullptr) ready(waiter->fiber, ReadyHint::last);
  }
}

}  // namespace fiber
