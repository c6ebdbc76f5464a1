// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/sync.h"
#include "sched/seeded.h"
#include "sync/waiter.h"

namespace fiber {

using namespace detail;

void Condition::wait(std::unique_lock<Mutex>& lock) { wait(lock, Limit()); }

Status Condition::wait(std::unique_lock<Mutex>& lock, Limit limit) {
  if (!lock.owns_lock()) fatal("%s waited for without its mutex held", describe(object_).c_str());
  Waiter waiter(this_fiber());
  Status status;
  {
    ObjectGuard guard(object_.lock, kAtEntry);
    // Nobody can notify before the waiter is in the queue: the guard is held until then.
    {
      const seeded::Undivided undivided;
      lock.unlock();
    }
    status = wait_in(object_, waiter, Reason::CONDITION, guard, limit);
  }
  lock.lock();
  return status;
}

void Condition::notify_one() {
  Fiber* woken = nullptr;
  {
    ObjectGuard guard(object_.lock, kAtEntry);
    Waiter* waiter = pop_waiter(object_.waiters);
    if (waiter != nullptr && waiter->wait == nullptr) woken = waiter->fiber;
  }
  if (woken != nullptr) ready(woken);
}

void Condition::notify_all() {
  ObjectGuard guard(object_.lock, kAtEntry);
  while (Waiter* waiter = pop_waiter(object_.waiters)) {
    // The waiter's memory is its own again as soon as it runs.
    if (waiter->wait == nullptr) ready(waiter->fiber, ReadyHint::last);
  }
}

}  // namespace fiber
