// SPDX-License-Identifier: BSD-2-Clause
// Mutex: one compare-and-swap when free; under contention unlock hands ownership to the first waiter, so the owner is
// known at every moment and nobody starves.
#include "probe/emit.h"
#include "sched/this_worker.h"
#include "sync/waiter.h"

namespace fiber {

using namespace detail;

namespace {
enum : std::uint32_t { kFree = 0, kHeld = 1, kContended = 2 };

[[noreturn]] void not_a_fiber(const void* mutex) { fatal("mutex %p locked by a thread that is no fiber", mutex); }
}  // namespace

bool Mutex::try_lock() {
  const std::uint64_t self = id_of(this_fiber());
  if (self == 0) not_a_fiber(this);
  std::uint32_t free = kFree;
  if (!state_.compare_exchange_strong(free, kHeld, std::memory_order_acquire)) return false;
  owner_.store(self, std::memory_order_relaxed);
  FIBER_EMIT(lock, self, address_of(this), 0);
  return true;
}

void Mutex::lock() {
  if (try_lock()) return;
  lock_slow({});
  asm volatile("");  // no tail call: the name people look for in a stack is this one
}

Status Mutex::lock(Limit limit) {
  if (try_lock()) return Status::done;
  const Status status = lock_slow(limit);
  asm volatile("");
  return status;
}

Status Mutex::lock_slow(const Limit& limit) {
  Waiter waiter;
  waiter.fiber = this_fiber();
  const std::uint64_t self = id_of(waiter.fiber);
  if (owner_.load(std::memory_order_relaxed) == self)
    fatal("mutex %p locked again by its owner", static_cast<void*>(this));
  {
    SpinGuard guard(waiters_.lock);
    if (state_.exchange(kContended, std::memory_order_acquire) == kFree) {
      if (waiters_.head == nullptr) state_.store(kHeld, std::memory_order_relaxed);
      owner_.store(self, std::memory_order_relaxed);
    } else {
      const Status status = wait_in(waiters_, waiter, Reason::MUTEX, address_of(this), guard, limit);
      if (status != Status::done) return status;
    }
  }
  FIBER_EMIT(lock, self, address_of(this), 1);
  return Status::done;
}

void Mutex::unlock() {
  const std::uint64_t self = id_of(this_fiber());
  const std::uint64_t owner = owner_.load(std::memory_order_relaxed);
  if (self == 0 || owner != self) {
    fatal("mutex %p unlocked by somebody who does not hold it; its owner is fiber %llu", static_cast<void*>(this),
          static_cast<unsigned long long>(owner));
  }
  owner_.store(0, std::memory_order_relaxed);
  std::uint32_t held = kHeld;
  if (state_.compare_exchange_strong(held, kFree, std::memory_order_release)) {
    FIBER_EMIT(unlock, self, address_of(this), 0);
    return;
  }
  Fiber* woken = nullptr;
  {
    SpinGuard guard(waiters_.lock);
    Waiter* next = pop_waiter(waiters_);
    if (next == nullptr) {
      state_.store(kFree, std::memory_order_release);
    } else {
      owner_.store(id_of(next->fiber), std::memory_order_relaxed);
      if (waiters_.head == nullptr) state_.store(kHeld, std::memory_order_relaxed);
      if (next->wait == nullptr) woken = next->fiber;
    }
  }
  if (woken != nullptr) ready(woken);
  FIBER_EMIT(unlock, self, address_of(this), 1);
}

}  // namespace fiber
