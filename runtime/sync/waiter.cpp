// SPDX-License-Identifier: BSD-2-Clause
#include "sync/waiter.h"

namespace fiber::detail {

Status wait_in_claimed(Object& object, Waiter& waiter, Reason reason, ObjectGuard& guard, const Limit& limit,
                       Place place) {
  Claim wait(waiter.fiber);
  waiter.wait = &wait;
  place == Place::last ? enqueue_waiter(object.waiters, waiter) : enqueue_waiter_first(object.waiters, waiter);
  guard.unlock();
  const Status ended = status_of(park_claimed(reason, reinterpret_cast<std::uint64_t>(&object), wait, limit));
  // Also waits for a waker that has won the claim and still holds the lock.
  ObjectGuard finished(object.lock);
  remove_waiter(object.waiters, waiter);
  return ended;
}

}  // namespace fiber::detail
