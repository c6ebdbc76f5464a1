// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/sync.h"
#include "sched/seeded.h"
#include "sync/waiter.h"

namespace fiber {

using namespace detail;

void WaitGroup::add(std::int64_t count) {
  if (!seeded::on()) [[likely]] {
    std::int64_t before = object_.count.load(std::memory_order_relaxed);
    std::int64_t after = 0;
    while (!__builtin_add_overflow(before, count, &after) && after > 0) {
      if (object_.count.compare_exchange_weak(before, after, std::memory_order_acq_rel)) return;
    }
  }
  add_locked(count);
}

// Reaching zero happens under the lock: a waiter that then finds zero, and destroys the group, has waited for the last
// access. Apart, because its frame would cost add() 15 instructions; so would that of a yield.
[[gnu::noinline]] void WaitGroup::add_locked(std::int64_t count) {
  seeded::sync_point();
  ObjectGuard guard(object_.lock);
  const std::int64_t before = object_.count.fetch_add(count, std::memory_order_acq_rel);
  std::int64_t after = 0;
  if (__builtin_add_overflow(before, count, &after)) bad_count(object_, "counts too much: add", count);
  if (after < 0) bad_count(object_, "has seen more done() than add(): its count would be", after);
  if (after > 0) return;
  // Every waiter leaves the queue before the first one returns: it may destroy the group.
  WakeList woken;
  while (Waiter* waiter = pop_waiter(object_.waiters)) woken.add(waiter);
  guard.unlock();
  woken.wake_all(ReadyHint::last);
}

WaitGroup::Token WaitGroup::token() {
  add(1);
  tokens_.fetch_add(1, std::memory_order_relaxed);
  return Token(this);
}

void WaitGroup::token_done() {
  tokens_.fetch_sub(1, std::memory_order_relaxed);  // before the group may be destroyed
  add(-1);
}

Status WaitGroup::wait(Limit limit) {
  Waiter waiter(this_fiber());
  ObjectGuard guard(object_.lock, kAtEntry);
  if (object_.count.load(std::memory_order_acquire) == 0) return Status::done;
  return wait_in(object_, waiter, Reason::WAIT_GROUP, guard, limit);
}

}  // namespace fiber
