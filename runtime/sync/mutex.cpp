// SPDX-License-Identifier: BSD-2-Clause
// Mutex: one compare-and-swap when free; under contention unlock hands ownership to the first waiter, so the owner is
// known at every moment and nobody starves.
#include "fiber/sync.h"
#include "probe/emit.h"
#include "sync/waiter.h"

namespace fiber {

using namespace detail;

namespace {

enum : std::int64_t { kFree = 0, kHeld = 1, kContended = 2 };

[[gnu::always_inline]] inline Status lock_contended(Object& object, std::uint64_t self, const Limit& limit) {
  if (object.owner.load(std::memory_order_relaxed) == self) {
    fatal("%s locked again by its owner", describe(object).c_str());
  }
  Waiter waiter(this_fiber());
  {
    ObjectGuard guard(object.lock);
    if (object.count.exchange(kContended, std::memory_order_acquire) == kFree) {
      if (object.waiters.head == nullptr) object.count.store(kHeld, std::memory_order_relaxed);
      object.owner.store(self, std::memory_order_relaxed);
    } else {
      const Status status = wait_in(object, waiter, Reason::MUTEX, guard, limit);
      if (status != Status::done) return status;
    }
  }
  FIBER_EMIT(lock, self, address_of(&object), 1);
  return Status::done;
}

}  // namespace

[[gnu::always_inline]] inline bool Mutex::take(std::uint64_t self) {
  std::int64_t free = kFree;
  if (!object_.count.compare_exchange_strong(free, kHeld, std::memory_order_acquire)) return false;
  object_.owner.store(self, std::memory_order_relaxed);
  FIBER_EMIT(lock, self, address_of(this), 0);
  return true;
}

bool Mutex::try_lock() { return take(this_actor_id()); }

void Mutex::lock() {
  const std::uint64_t self = this_actor_id();
  if (take(self)) return;
  lock_slow(self);
  asm volatile("");  // no tail call: the name people look for in a stack is this one
}

Status Mutex::lock(Limit limit) {
  const std::uint64_t self = this_actor_id();
  if (take(self)) return Status::done;
  const Status status = lock_limited(self, limit);
  asm volatile("");
  return status;
}

[[gnu::noinline]] Status Mutex::lock_slow(std::uint64_t self) { return lock_contended(object_, self, {}); }

[[gnu::noinline]] Status Mutex::lock_limited(std::uint64_t self, const Limit& limit) {
  return lock_contended(object_, self, limit);
}

void Mutex::unlock() {
  const std::uint64_t self = this_actor_id();
  const std::uint64_t owner = object_.owner.load(std::memory_order_relaxed);
  if (owner != self) {
    fatal("%s unlocked by somebody who does not hold it; its owner is %s", describe(object_).c_str(),
          describe_actor(owner).c_str());
  }
  object_.owner.store(0, std::memory_order_relaxed);
  std::int64_t held = kHeld;
  if (object_.count.compare_exchange_strong(held, kFree, std::memory_order_release)) {
    FIBER_EMIT(unlock, self, address_of(this), 0);
    return;
  }
  Fiber* woken = nullptr;
  {
    ObjectGuard guard(object_.lock);
    Waiter* next = pop_waiter(object_.waiters);
    if (next == nullptr) {
      object_.count.store(kFree, std::memory_order_release);
    } else {
      object_.owner.store(next->id(), std::memory_order_relaxed);
      if (object_.waiters.head == nullptr) object_.count.store(kHeld, std::memory_order_relaxed);
      if (next->wait == nullptr) woken = next->fiber;
    }
  }
  if (woken != nullptr) ready(woken);
  FIBER_EMIT(unlock, self, address_of(this), 1);
}

}  // namespace fiber
