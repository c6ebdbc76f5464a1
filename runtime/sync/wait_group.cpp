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
    fatal("wait group %p: count below zero (%lld): more done() than add()", static_cast<void*>(this), static_cast<long long>(now));
  }
  if (now > 0) return;
  // Every waiter leaves the queue before the first one runs: it may destroy the group.
  Waiter* first = waiters_.head;
  waiters_.head = waiters_.tail = nullptr;
  guard.unlock();
  while (first != nullptr) {
    Fiber* fiber = first->fiber;
    Claim* wait = first->wait;
    first = first->next;
    if (wait != nullptr) {
      claim(*wait, 0);
    } else {
      ready(fiber, ReadyHint::last);
    }
  }
}

void WaitGroup::wait() {
  Waiter waiter;
  waiter.fiber = this_fiber();
  Claim wait(waiter.fiber);
  SpinGuard guard(waiters_.lock);
  if (count_.load(std::memory_order_acquire) == 0) return;
  enqueue_waiter(waiters_, waiter);
  if (waiter.fiber != nullptr) {
    park_locked(Reason::WAIT_GROUP, address_of(this), guard.hand_over());
  } else {
    waiter.wait = &wait;
    guard.unlock();
    park_claimed(Reason::WAIT_GROUP, address_of(this), wait);
  }
}

}  // namespace fiber
