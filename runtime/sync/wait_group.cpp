// SPDX-License-Identifier: BSD-2-Clause
#include "probe/emit.h"
#include "sched/this_worker.h"
#include "sync/waiter.h"

namespace fiber {

using namespace detail;

void WaitGroup::add(std::int64_t count) {
  std::int64_t now = count_.load(std::memory_order_relaxed);
  // Reaching zero happens under the lock: a waiter that then finds zero, and destroys the group, has waited for the
  // last access.
  while (now + count > 0) {
    if (count_.compare_exchange_weak(now, now + count, std::memory_order_acq_rel)) return;
  }
  SpinGuard guard(waiters_.lock);
  now = count_.fetch_add(count, std::memory_order_acq_rel) + count;
  if (now < 0) {
    fatal("wait group %p: count below zero (%lld): more done() than add()", static_cast<void*>(this),
          static_cast<long long>(now));
  }
  if (now > 0) return;
  // Every waiter leaves the queue before the first one returns: it may destroy the group. One that has a claim wakes
  // now, but needs the lock before it returns; the others are woken when the lock is free.
  Waiter* first = nullptr;
  Waiter** end = &first;
  while (Waiter* waiter = pop_waiter(waiters_)) {
    if (waiter->wait != nullptr) continue;
    *end = waiter;
    end = &waiter->next;
  }
  *end = nullptr;
  guard.unlock();
  while (first != nullptr) {
    Fiber* fiber = first->fiber;
    first = first->next;
    ready(fiber, ReadyHint::last);
  }
}

Status WaitGroup::wait(Limit limit) {
  Waiter waiter;
  waiter.fiber = this_fiber();
  SpinGuard guard(waiters_.lock);
  if (count_.load(std::memory_order_acquire) == 0) return Status::done;
  return wait_in(waiters_, waiter, Reason::WAIT_GROUP, address_of(this), guard, limit);
}

}  // namespace fiber
