// SPDX-License-Identifier: BSD-2-Clause
#include "time/timers.h"

#include <mutex>

namespace fiber::detail {

void Timers::place(std::size_t position, Timer* timer) {
  heap_[position] = timer;
  timer->position = position;
}

void Timers::sift_up(std::size_t position) {
  Timer* timer = heap_[position];
  while (position > 0) {
    const std::size_t parent = (position - 1) / 4;
    if (heap_[parent]->when <= timer->when) break;
    place(position, heap_[parent]);
    position = parent;
  }
  place(position, timer);
}

void Timers::sift_down(std::size_t position) {
  Timer* timer = heap_[position];
  for (;;) {
    const std::size_t first = position * 4 + 1;
    if (first >= heap_.size()) break;
    std::size_t least = first;
    for (std::size_t child = first + 1; child < first + 4 && child < heap_.size(); ++child) {
      if (heap_[child]->when < heap_[least]->when) least = child;
    }
    if (heap_[least]->when >= timer->when) break;
    place(position, heap_[least]);
    position = least;
  }
  place(position, timer);
}

void Timers::remove(std::size_t position) {
  Timer* removed = heap_[position];
  Timer* last = heap_.back();
  heap_.pop_back();
  if (removed != last) {
    place(position, last);
    sift_up(position);
    sift_down(last->position);
  }
  removed->position = Timer::kUnarmed;
}

void Timers::publish_earliest() {
  earliest_.store(heap_.empty() ? kNever : heap_.front()->when, std::memory_order_seq_cst);
}

bool Timers::arm(Timer& timer) {
  std::lock_guard guard(lock_);
  heap_.push_back(&timer);
  sift_up(heap_.size() - 1);
  const bool first = heap_.front() == &timer;
  if (first) publish_earliest();
  return first;
}

void Timers::disarm(Timer& timer) {
  std::lock_guard guard(lock_);
  if (timer.position == Timer::kUnarmed) return;
  const bool first = timer.position == 0;
  remove(timer.position);
  if (first) publish_earliest();
}

bool Timers::fire(std::uint64_t now) {
  if (earliest() > now) return false;
  std::lock_guard guard(lock_);
  bool any = false;
  while (!heap_.empty() && heap_.front()->when <= now) {
    Timer* timer = heap_.front();
    remove(0);
    // Under the lock: once disarm has had it, the waiter may be gone.
    claim(*timer->wait, timer->outcome);
    any = true;
  }
  if (any) publish_earliest();
  return any;
}

}  // namespace fiber::detail
