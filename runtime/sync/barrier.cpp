// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/barrier.h"

#include "sync/waiter.h"

namespace fiber {

using namespace detail;

bool Barrier::arrive_and_wait() {
  bool last = false;
  arrive_and_wait(Limit(), &last);
  return last;
}

Status Barrier::arrive_and_wait(Limit limit, bool* last) {
  Waiter waiter(this_fiber());
  ObjectGuard guard(object_.lock, kAtEntry);
  const std::int64_t arrived = object_.count.load(std::memory_order_relaxed) + 1;
  if (last != nullptr) *last = arrived == parties_;
  if (arrived == parties_) {
    object_.count.store(0, std::memory_order_relaxed);
    ++round_;
    WakeList woken;
    while (Waiter* other = pop_waiter(object_.waiters)) woken.add(other);
    guard.unlock();
    woken.wake_all(ReadyHint::last);
    return Status::done;
  }
  object_.count.store(arrived, std::memory_order_relaxed);
  const std::uint64_t round = round_;
  const Status status = wait_in(object_, waiter, Reason::BARRIER, guard, limit);
  if (status == Status::done) return status;
  ObjectGuard again(object_.lock);
  if (round_ != round) return Status::done;  // the last party counted this arrival
  object_.count.store(object_.count.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
  return status;
}

}  // namespace fiber
