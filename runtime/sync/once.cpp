// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/once.h"

#include "sync/waiter.h"

namespace fiber {

using namespace detail;

bool Once::begin(const Limit& limit, Status& status) {
  const std::uint64_t self = this_actor_id();
  for (;;) {
    Waiter waiter(this_fiber());
    ObjectGuard guard(object_.lock, kAtEntry);
    switch (object_.count.load(std::memory_order_relaxed)) {
      case kDone:
        status = Status::done;
        return false;
      case kUnset:
        object_.count.store(kRunning, std::memory_order_relaxed);
        object_.owner.store(self, std::memory_order_relaxed);
        return true;
      default:
        break;
    }
    if (object_.owner.load(std::memory_order_relaxed) == self) {
      waits_for_itself(object_, "called from inside the function it runs");
    }
    status = wait_in(object_, waiter, Reason::ONCE, guard, limit);
    if (status != Status::done) return false;
  }
}

void Once::end(bool successful) {
  WakeList woken;
  {
    ObjectGuard guard(object_.lock, kAtEntry);
    object_.owner.store(0, std::memory_order_relaxed);
    object_.count.store(successful ? kDone : kUnset, std::memory_order_release);
    // After an exception the first to wait takes the next turn.
    while (Waiter* waiter = pop_waiter(object_.waiters)) {
      woken.add(waiter);
      if (!successful) break;
    }
  }
  woken.wake_all(ReadyHint::last);
}

}  // namespace fiber
