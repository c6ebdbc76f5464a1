// SPDX-License-Identifier: BSD-2-Clause
#include "sync/waiter.h"

namespace fiber::detail {

Status wait_in_claimed(WaitQueue& queue, Waiter& waiter, Reason reason, std::uint64_t resource, SpinGuard& guard,
                       const Limit& limit) {
  Claim wait(waiter.fiber);
  waiter.wait = &wait;
  enqueue_waiter(queue, waiter);
  guard.unlock();
  const Status ended = status_of(park_claimed(reason, resource, wait, limit));
  // Also waits for a waker that has won the claim and still holds the lock.
  SpinGuard finished(queue.lock);
  remove_waiter(queue, waiter);
  return ended;
}

}  // namespace fiber::detail
