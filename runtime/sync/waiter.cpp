// SPDX-License-Identifier: BSD-2-Clause
#include "sync/waiter.h"

namespace fiber::detail {

Status wait_in_claimed(Object& object, WaitQueue& queue, Waiter& waiter, Reason reason, LockByte& held,
                       const Limit& limit, Place place) {
  Claim wait(waiter.fiber);
  waiter.wait = &wait;
  enqueue_waiter(queue, waiter, place);
  unlock_object(held);
  const Status ended = status_of(park_claimed(reason, reinterpret_cast<std::uint64_t>(&object), wait, limit));
  // Also waits for a waker that has won the claim and, still holding the lock, says with what result.
  ObjectGuard finished(object.lock);
  remove_waiter(queue, waiter);
  return ended;
}

}  // namespace fiber::detail
