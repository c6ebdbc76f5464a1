// SPDX-License-Identifier: BSD-2-Clause
// Reader-writer lock. One word says how many readers are inside, whether a writer is, and whether anybody waits; while
// nobody does, entering and leaving are one compare-and-swap each. As soon as somebody waits, nobody enters past the
// queue, and whoever leaves the lock empty lets in the first of the queue: one writer, or readers up to the next
// writer.
#include "fiber/rwlock.h"

#include "probe/emit.h"
#include "sched/seeded.h"
#include "sync/rwlock_state.h"
#include "sync/shared_holds.h"
#include "sync/waiter.h"

namespace fiber {

using namespace detail;

namespace {

// Lets in whom the queue's order allows. The lock is held.
void grant(Object& object, WakeList& woken) {
  rwlock::grant<Waiter>(object, [&](Waiter* waiter) { woken.add(waiter); });
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
    waits_for_itself(object, "locked again by its writer");
  }
  if (writer && holds_shared(fiber, object)) {
    waits_for_itself(object, "locked for writing by somebody who holds it for reading");
  }
  Waiter waiter(fiber);
  waiter.writing = writer;
  ObjectGuard guard(object.lock);
  if (rwlock::come(object, self, writer)) return Status::done;
  const Status status = wait_in(object, waiter, writer ? Reason::RWLOCK_WRITE : Reason::RWLOCK_READ, guard, limit);
  // Those behind somebody who gave up may have waited for nothing else.
  if (status != Status::done) regrant(object);
  return status;
}

}  // namespace

bool RwLock::try_lock() {
  seeded::sync_point();
  const std::uint64_t self = this_actor_id();
  if (!rwlock::enter(object_, self)) return false;
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
  if (rwlock::enter(object_, self)) {
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
  if (rwlock::leave(object_)) {
    FIBER_EMIT(unlock, self, address_of(this), 0);
    return;
  }
  WakeList woken;
  {
    ObjectGuard guard(object_.lock);
    rwlock::leave_locked(object_, true);
    grant(object_, woken);
  }
  woken.wake_all(ReadyHint::last);
  FIBER_EMIT(unlock, self, address_of(this), 1);
}

bool RwLock::try_lock_shared() {
  seeded::sync_point();
  Fiber* fiber = this_fiber();
  if (fiber == nullptr) [[unlikely]]
    count_thread_hold(1);
  if (!rwlock::enter_shared(object_)) {
    if (fiber == nullptr) count_thread_hold(-1);
    return false;
  }
  hold_shared(fiber, object_);
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
  if (fiber == nullptr) count_thread_hold(1);
  const Status status = wait_for_turn(object_, fiber, self, false, limit);
  if (status == Status::done) {
    hold_shared(fiber, object_);
    FIBER_EMIT(lock, self, address_of(this), 1);
  } else if (fiber == nullptr) {
    count_thread_hold(-1);
  }
  return status;
}

void RwLock::unlock_shared() {
  seeded::sync_point();
  if (!drop_shared(this_fiber(), object_)) {
    fatal("%s unlocked by somebody who does not hold it for reading", describe(object_).c_str());
  }
  const bool thread = this_fiber() == nullptr;
  if (rwlock::leave_shared(object_)) {
    if (thread) count_thread_hold(-1);
    FIBER_EMIT(unlock, this_actor_id(), address_of(this), 0);
    return;
  }
  WakeList woken;
  {
    ObjectGuard guard(object_.lock);
    rwlock::leave_locked(object_, false);
    grant(object_, woken);
  }
  if (thread) count_thread_hold(-1);
  woken.wake_all(ReadyHint::last);
  FIBER_EMIT(unlock, this_actor_id(), address_of(this), 1);
}

}  // namespace fiber
