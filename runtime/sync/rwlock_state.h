// SPDX-License-Identifier: BSD-2-Clause
// What happens to the state of a reader-writer lock (rwlock.cpp, which says what it is for). Templates, for tests/model
// explores them: `Object` has the fields of Object, `Waiter` those of Waiter.
#pragma once

#include <atomic>
#include <cstdint>

#include "sync/wait_queue.h"

namespace fiber::detail::rwlock {

// Parts of the count: how many readers are inside, whether a writer is, and whether anybody waits.
inline constexpr std::int64_t kReaders = 0xffff'ffff, kWriter = std::int64_t{1} << 32, kWaiters = std::int64_t{1} << 33;

// --- without the object's lock: while nobody waits

template <class Object>
bool enter_shared(Object& object) {
  std::int64_t seen = object.count.load(std::memory_order_relaxed);
  while ((seen & (kWriter | kWaiters)) == 0) {
    if (object.count.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

template <class Object>
bool enter(Object& object, std::uint64_t self) {
  std::int64_t free = 0;
  if (!object.count.compare_exchange_strong(free, kWriter, std::memory_order_acquire)) return false;
  object.owner.store(self, std::memory_order_relaxed);
  return true;
}

// False: the caller has to leave under the lock, and let others in, for it may be the last.
template <class Object>
bool leave_shared(Object& object) {
  std::int64_t seen = object.count.load(std::memory_order_relaxed);
  while ((seen & kWaiters) == 0 || (seen & kReaders) > 1) {
    if (object.count.compare_exchange_weak(seen, seen - 1, std::memory_order_release, std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

// The same, of the writer.
template <class Object>
bool leave(Object& object) {
  object.owner.store(0, std::memory_order_relaxed);
  std::int64_t held = kWriter;
  return object.count.compare_exchange_strong(held, 0, std::memory_order_release);
}

// --- with the lock

// Whoever could not enter comes. True: it has entered now. Else it has to wait, behind the others, and from now on
// nobody enters without the lock.
template <class Object>
bool come(Object& object, std::uint64_t self, bool writing) {
  const std::int64_t inside = object.count.fetch_or(kWaiters, std::memory_order_acquire) & ~kWaiters;
  if (object.waiters.head != nullptr || (inside & kWriter) != 0 || (writing && inside != 0)) return false;
  if (writing) object.owner.store(self, std::memory_order_relaxed);
  object.count.fetch_add((writing ? kWriter : 1) - kWaiters, std::memory_order_acquire);
  return true;
}

// A reader, or the writer, leaves; grant() is to follow.
template <class Object>
void leave_locked(Object& object, bool writing) {
  object.count.fetch_sub(writing ? kWriter : 1, std::memory_order_acq_rel);
}

// Lets in whom the queue's order allows, and calls admitted(waiter) for each, whose wait has been won. kWaiters, which
// is set as long as anybody is in the queue, keeps others out.
template <class Waiter, class Object, class Admitted>
void grant(Object& object, Admitted admitted) {
  while (Waiter* first = object.waiters.head) {
    const bool writing = first->writing;
    const std::int64_t inside = object.count.load(std::memory_order_acquire);
    if ((inside & kWriter) != 0 || (writing && (inside & kReaders) != 0)) return;
    remove_waiter(object.waiters, *first);
    if (!win_waiter(*first)) continue;
    if (writing) object.owner.store(first->id(), std::memory_order_relaxed);
    object.count.fetch_add(writing ? kWriter : 1, std::memory_order_acquire);
    admitted(first);
  }
  object.count.fetch_and(~kWaiters, std::memory_order_release);
}

}  // namespace fiber::detail::rwlock
