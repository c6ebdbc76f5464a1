// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/semaphore.h"

#include "sync/waiter.h"

namespace fiber {

using namespace detail;

namespace {

struct PermitWaiter : Waiter {
  PermitWaiter(Fiber* caller, std::int64_t count) : Waiter(caller), wanted(count) {}
  std::int64_t wanted;
};

// Gives permits to those who wait, in order. The lock is held, and `count` is only written under it.
void grant(Object& object, WakeList& woken) {
  std::int64_t free = object.count.load(std::memory_order_relaxed);
  while (Waiter* first = object.waiters.head) {
    const std::int64_t wanted = static_cast<PermitWaiter*>(first)->wanted;
    if (wanted > free) break;
    remove_waiter(object.waiters, *first);
    if (!win_waiter(*first)) continue;
    free -= wanted;
    woken.add(first);
  }
  object.count.store(free, std::memory_order_relaxed);
}

}  // namespace

void Semaphore::check(std::int64_t count) const {
  if (count < 1) bad_count(object_, "asked to move a number of permits of", count);
  if (count > most_) bad_count(object_, "asked for more permits than its maximum:", count);
}

bool Semaphore::try_acquire(std::int64_t count) {
  check(count);
  ObjectGuard guard(object_.lock, kAtEntry);
  const std::int64_t free = object_.count.load(std::memory_order_relaxed);
  if (object_.waiters.head != nullptr || free < count) return false;
  object_.count.store(free - count, std::memory_order_relaxed);
  return true;
}

Status Semaphore::acquire(std::int64_t count, Limit limit) {
  check(count);
  PermitWaiter waiter(this_fiber(), count);
  ObjectGuard guard(object_.lock, kAtEntry);
  const std::int64_t free = object_.count.load(std::memory_order_relaxed);
  if (object_.waiters.head == nullptr && free >= count) {
    object_.count.store(free - count, std::memory_order_relaxed);
    return Status::done;
  }
  const Status status = wait_in(object_, waiter, Reason::SEMAPHORE, guard, limit);
  if (status != Status::done) {
    // Who gave up may have been the first, and the next may want less.
    WakeList woken;
    {
      ObjectGuard again(object_.lock);
      grant(object_, woken);
    }
    woken.wake_all(ReadyHint::last);
  }
  return status;
}

void Semaphore::release(std::int64_t count) {
  check(count);
  WakeList woken;
  {
    ObjectGuard guard(object_.lock, kAtEntry);
    const std::int64_t free = object_.count.load(std::memory_order_relaxed);
    if (count > most_ - free) bad_count(object_, "released beyond its maximum of", most_);
    object_.count.store(free + count, std::memory_order_relaxed);
    grant(object_, woken);
  }
  woken.wake_all(ReadyHint::last);
}

}  // namespace fiber
