// SPDX-License-Identifier: BSD-2-Clause
// A fiber in the queue of a synchronisation object. Lives on the waiter's stack.
#pragma once

#include <cstdint>
#include <utility>

#include "fiber/object.h"
#include "sched/park.h"
#include "sync/actor.h"
#include "sync/wait_queue.h"

namespace fiber::detail {

// Begins as fiberprof_waiter.
struct Waiter {
  Fiber* fiber = nullptr;
  std::uint64_t thread = 0;  // who waits, when that is no fiber
  Waiter* next = nullptr;
  Waiter* previous = nullptr;
  Claim* wait = nullptr;      // not null: several parties may end this wait
  std::uint32_t outcome = 0;  // what to claim then
  bool queued = false;
  bool success = false;     // set by the waker, under the object's lock
  bool writing;             // rwlocks: what it wants to do; nobody else sets it, which would cost every wait a store
  void* element = nullptr;  // channels: where the value goes to or comes from
  std::uint64_t since = 0;  // mutexes: when it began to wait, ns

  Waiter() = default;
  explicit Waiter(Fiber* caller) : fiber(caller) {
    if (caller == nullptr) thread = this_thread_id();
  }
  std::uint64_t id() const { return fiber == nullptr ? thread : fiber->record.id; }
};

// Whether the caller may end this wait: a plain waiter always, one with a claim if it wins that. Winning wakes a
// claimed waiter, which then blocks on the object's lock until the caller is done with it; the fiber of a plain one
// must be made ready() by the caller, at best after the lock is released.
inline bool win_waiter(Waiter& waiter) { return waiter.wait == nullptr || claim(*waiter.wait, waiter.outcome); }

[[gnu::always_inline]] inline Waiter* pop_waiter(WaitQueue& queue) { return pop_waiter_of<Waiter>(queue); }

class ObjectGuard {
 public:
  explicit ObjectGuard(ObjectLock& lock) : held_(&lock_object(lock)) {}
  // See lock_object_at_entry.
  struct AtEntry {};
  ObjectGuard(ObjectLock& lock, AtEntry) : held_(&lock_object_at_entry(lock)) {}
  ~ObjectGuard() {
    if (held_ != nullptr) unlock_object(*held_);
  }
  // The lock now belongs to the switch of park_locked.
  LockByte& hand_over() { return *std::exchange(held_, nullptr); }
  void unlock() { unlock_object(hand_over()); }
  ObjectGuard(const ObjectGuard&) = delete;
  ObjectGuard& operator=(const ObjectGuard&) = delete;

 private:
  LockByte* held_;
};
inline constexpr ObjectGuard::AtEntry kAtEntry;

// As wait_in, for waits that several parties may end: with a limit, or of a thread that is no fiber.
Status wait_in_claimed(Object& object, WaitQueue& queue, Waiter& waiter, Reason reason, LockByte& held,
                       const Limit& limit, Place place);

// Joins `queue`, one of the object's, and waits until somebody has popped the waiter: done; or the limit came first.
// `held` is that of the object's lock, which this gives up. Once done, the object is not touched again unless there is
// a limit or the caller is no fiber.
[[gnu::always_inline]] inline Status wait_in(Object& object, WaitQueue& queue, Waiter& waiter, Reason reason,
                                             LockByte& held, const Limit& limit, Place place = Place::last) {
  if (waiter.fiber == nullptr || !limit.none()) [[unlikely]] {
    return wait_in_claimed(object, queue, waiter, reason, held, limit, place);
  }
  enqueue_waiter(queue, waiter, place);
  park_locked(reason, reinterpret_cast<std::uint64_t>(&object), held);
  return Status::done;
}
// The same for an object with one queue.
[[gnu::always_inline]] inline Status wait_in(Object& object, Waiter& waiter, Reason reason, ObjectGuard& guard,
                                             const Limit& limit, Place place = Place::last) {
  return wait_in(object, object.waiters, waiter, reason, guard.hand_over(), limit, place);
}

// Fibers that were popped, to be made runnable when the object's lock is free: then they may destroy it.
class WakeList {
 public:
  void add(Waiter* waiter) {
    if (waiter->wait != nullptr) return;  // awake already, and needs the lock before it goes on
    waiter->next = nullptr;
    (last_ == nullptr ? first_ : last_->next) = waiter;
    last_ = waiter;
  }
  void wake_all(ReadyHint hint) {
    while (first_ != nullptr) {
      Fiber* fiber = first_->fiber;
      first_ = first_->next;  // the waiter's memory is its own again as soon as it runs
      ready(fiber, hint);
    }
  }

 private:
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

}  // namespace fiber::detail
