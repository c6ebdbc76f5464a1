// SPDX-License-Identifier: BSD-2-Clause
// What happens to a mutex's state (mutex.cpp, which says what it is for): each function with the object's lock held.
// Templates, for tests/model explores them: `Object` has the fields of Object, `Flags` those of MutexFlags.
#pragma once

#include <atomic>
#include <cstdint>

#include "sync/wait_queue.h"

namespace fiber::detail::mutex {

enum : std::int64_t { kFree = 0, kHeld = 1, kContended = 2 };

// Gets it if it is free.
template <class Object>
[[gnu::always_inline]] inline bool take(Object& object, std::uint64_t self) {
  if (object.count.load(std::memory_order_relaxed) != kFree) return false;
  object.count.store(object.waiters.head == nullptr ? kHeld : kContended, std::memory_order_relaxed);
  object.owner.store(self, std::memory_order_relaxed);
  return true;
}

// Somebody who has found it taken comes, or comes back because unlock woke it. True: has got it. Else it has to wait:
// behind the others, or, woken in vain, before them. is_old(): whether it has waited for longer than it need put up
// with.
template <class Object, class Flags, class IsOld>
bool come(Object& object, Flags& flags, std::uint64_t self, bool woken, IsOld is_old) {
  if (woken) flags.waking = false;
  if (take(object, self)) return true;
  object.count.store(kContended, std::memory_order_relaxed);
  if (woken && is_old()) flags.starving = true;
  return false;
}

// Its owner lets go of it while others wait. Who is returned, if anybody, was taken off the queue and must be woken: it
// is the owner now, if its `success` says so, or is to come back. is_old(waiter): as above. Whoever made it
// starving may have given up since; then it is handed over once more than need be.
template <class Waiter, class Object, class Flags, class IsOld>
Waiter* let_go(Object& object, Flags& flags, IsOld is_old) {
  const bool starving = flags.starving;
  Waiter* next = starving || !flags.waking ? pop_waiter_of<Waiter>(object.waiters) : nullptr;
  if (next == nullptr || !starving) {
    object.count.store(kFree, std::memory_order_relaxed);
    if (next != nullptr) flags.waking = true;
  } else {
    next->success = true;
    object.owner.store(next->id(), std::memory_order_relaxed);
    object.count.store(object.waiters.head == nullptr ? kHeld : kContended, std::memory_order_relaxed);
  }
  if (starving) flags.starving = object.waiters.head != nullptr && is_old(*object.waiters.head);
  return next;
}

}  // namespace fiber::detail::mutex
