// SPDX-License-Identifier: BSD-2-Clause
// Reader-writer lock. One word says how many readers are inside, whether a writer is, and whether anybody waits; while
// nobody does, entering and leaving are one compare-and-swap each. As soon as somebody waits, nobody enters past the
// queue, and whoever leaves the lock empty lets in the first of the queue: one writer, or readers up to the next
// writer.
#include "fiber/rwlock.h"

#include "probe/emit.h"
#include "sched/seeded.h"
#include "sync/shared_holds.h"
#include "sync/waiter.h"

namespace fiber {

using namespace detail;

namespace {

constexpr std::int64_t kReaders = 0xffff'ffff, kWriter = std::int64_t{1} << 32, kWaiters = std::int64_t{1} << 33;

struct RwWaiter : Waiter {
  RwWaiter(Fiber* caller, bool for_writing) : Waiter(caller), writer(for_writing) {}
  bool writer;
};

bool enter_shared(Object& object) {
  std::int64_t seen = object.count.load(std::memory_order_relaxed);
  while ((seen & (kWriter | kWaiters)) == 0) {
    if (object.count.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

bool enter(Object& object, std::uint64_t self) {
  std::int64_t free = 0;
  if (!object.count.compare_exchange_strong(free, kWriter, std::memory_order_acquire)) return false;
  object.owner.store(self, std::memory_order_relaxed);
  return true;
}

// Lets in whom the queue's order allows. The lock is held; kWaiters, which is set as long as anybody is in the queue,
// keeps others out.
void grant(Object& object, WakeList& woken) {
  while (Waiter* first = object.waiters.head) {
    const bool writer = static_cast<RwWaiter*>(first)->writer;
    const std::int64_t inside = object.count.load(std::memory_order_acquire);
    if ((inside & kWriter) != 0 || (writer && (inside & kReaders) != 0)) return;
    remove_waiter(object.waiters, *first);
    if (!win_waiter(*first)) continue;
    if (writer) object.owner.store(first->id(), std::memory_order_relaxed);
    object.count.fetch_add(writer ? kWriter : 1, std::memory_order_acquire);
    woken.add(first);
  }
  object.count.fetch_and(~kWaiters, std::memory_order_release);
}

void regrant(Object& object) {
  WakeList woken;
  {
    ObjectGuard guard(object.lock);
    grant(object, woken);
  }
  woken.wake_all(ReadyHint::last);
}

Status wait_for_turn(Object& object, Fiber* fiber, std::uint64_t self, bool writer, const Limit& limit) {
  if (object.owner.load(std::memory_order_relaxed) == self) {
    fatal("%s locked again by its writer", describe(object).c_str());
  }
  if (writer && holds_shared(fiber, object)) {
    fatal("%s locked for writing by somebody who holds it for reading", describe(object).c_str());
  }
  RwWaiter waiter(fiber, writer);
  ObjectGuard guard(object.lock);
  const std::int64_t inside = object.count.fetch_or(kWaiters, std::memory_order_acquire) & ~kWaiters;
  if (object.waiters.head == nullptr && (inside & kWriter) == 0 && (!writer || inside == 0)) {
    if (writer) object.owner.store(self, std::memory_order_relaxed);
    object.count.fetch_add((writer ? kWriter : 1) - kWaiters, std::memory_order_acquire);
    return Status::done;
  }
  const Status status = wait_in(object, waiter, writer ? Reason::RWLOCK_WRITE : Reason::RWLOCK_READ, guard, limit);
  // Those behind somebody who gave up may have waited for nothing else.
  if (status != Status::done) regrant(object);
  return status;
}

}  // namespace

bool RwLock::try_lock() {
  seeded::sync_point();
  const std::uint64_t self = this_actor_id();
  if (!enter(object_, self)) return false;
  FIBER_EMIT(lock, self, address_of(this), 0);
  return true;
}

void RwLock::lock() {
  static_cast<void>(lock(Limit()));
  asm volatile("");  // no tail call: the name people look for in a stack is this one
}

Status RwLock::lock(Limit limit) {
  seeded::sync_point();
  Fiber* fiber = this_fiber();
  const std::uint64_t self = fiber == nullptr ? this_thread_id() : fiber->record.id;
  if (enter(object_, self)) {
    FIBER_EMIT(lock, self, address_of(this), 0);
    return Status::done;
  }
  const Status status = wait_for_turn(object_, fiber, self, true, limit);
  if (status == Status::done) FIBER_EMIT(lock, self, address_of(this), 1);
  return status;
}

void RwLock::unlock() {
  seeded::sync_point();
  const std::uint64_t self = this_actor_id();
  const std::uint64_t owner = object_.owner.load(std::memory_order_relaxed);
  if (owner != self) {
    fatal("%s unlocked by somebody who does not hold it for writing; its writer is %s", describe(object_).c_str(),
          describe_actor(owner).c_str());
  }
  object_.owner.store(0, std::memory_order_relaxed);
  std::int64_t held = kWriter;
  if (object_.count.compare_exchange_strong(held, 0, std::memory_order_release)) {
    FIBER_EMIT(unlock, self, address_of(this), 0);
    return;
  }
  WakeList woken;
  {
    ObjectGuard guard(object_.lock);
    object_.count.fetch_sub(kWriter, std::memory_order_release);
    grant(object_, woken);
  }
  woken.wake_all(ReadyHint::last);
  FIBER_EMIT(unlock, self, address_of(this), 1);
}

bool RwLock::try_lock_shared() {
  seeded::sync_point();
  if (!enter_shared(object_)) return false;
  hold_shared(this_fiber(), object_);
  FIBER_EMIT(lock, this_actor_id(), address_of(this), 0);
  return true;
}

void RwLock::lock_shared() {
  static_cast<void>(lock_shared(Limit()));
  asm volatile("");
}

Status RwLock::lock_shared(Limit limit) {
  if (try_lock_shared()) return Status::done;
  Fiber* fiber = this_fiber();
  const std::uint64_t self = this_actor_id();
  const Status status = wait_for_turn(object_, fiber, self, false, limit);
  if (status == Status::done) {
    hold_shared(fiber, object_);
    FIBER_EMIT(lock, self, address_of(this), 1);
  }
  return status;
}

void RwLock::unlock_shared() {
  seeded::sync_point();
  if (!drop_shared(this_fiber(), object_)) {
    fatal("%s unlocked by somebody who does not hold it for reading", describe(object_).c_str());
  }
  std::int64_t seen = object_.count.load(std::memory_order_relaxed);
  while ((seen & kWaiters) == 0 || (seen & kReaders) > 1) {
    if (object_.count.compare_exchange_weak(seen, seen - 1, std::memory_order_release, std::memory_order_relaxed)) {
      FIBER_EMIT(unlock, this_actor_id(), address_of(this), 0);
      return;
    }
  }
  WakeList woken;
  {
    ObjectGuard guard(object_.lock);
    object_.count.fetch_sub(1, std::memory_order_acq_rel);
    grant(object_, woken);
  }
  woken.wake_all(ReadyHint::last);
  FIBER_EMIT(unlock, this_actor_id(), address_of(this), 1);
}

}  // namespace fiber
