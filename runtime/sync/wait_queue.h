// SPDX-License-Identifier: BSD-2-Clause
// The queue of an object's waiters: first in, first out, but for whoever was woken in vain. Guarded by the object's
// lock. Templates, for tests/model explores them: `Queue` has the fields of WaitQueue, `Waiter` those of Waiter.
#pragma once

namespace fiber::detail {

enum class Place { last, first };

template <class Queue, class Waiter>
[[gnu::always_inline]] inline void enqueue_waiter(Queue& queue, Waiter& waiter, Place place = Place::last) {
  Waiter* previous = nullptr;
  Waiter* next = nullptr;
  if (place == Place::last) {
    previous = queue.tail;
  } else {
    next = queue.head;
  }
  waiter.queued = true;
  waiter.previous = previous;
  waiter.next = next;
  (previous == nullptr ? queue.head : previous->next) = &waiter;
  (next == nullptr ? queue.tail : next->previous) = &waiter;
}

template <class Queue, class Waiter>
void remove_waiter(Queue& queue, Waiter& waiter) {
  if (!waiter.queued) return;
  waiter.queued = false;
  Waiter* const previous = waiter.previous;
  Waiter* const next = waiter.next;
  (previous == nullptr ? queue.head : previous->next) = next;
  (next == nullptr ? queue.tail : next->previous) = previous;
}

// Takes the first waiter whose wait the caller wins off the queue. Null: none.
template <class Waiter, class Queue>
[[gnu::always_inline]] inline Waiter* pop_waiter_of(Queue& queue) {
  while (Waiter* waiter = queue.head) {
    Waiter* const next = waiter->next;
    queue.head = next;
    (next == nullptr ? queue.tail : next->previous) = nullptr;
    waiter->queued = false;
    if (win_waiter(*waiter)) return waiter;
  }
  return nullptr;
}

}  // namespace fiber::detail
