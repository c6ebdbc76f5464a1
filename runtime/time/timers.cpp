// SPDX-License-Identifier: BSD-2-Clause
#include "time/timers.h"

#include <mutex>

namespace fiber::detail {

void TimerHeap::place(std::size_t position, Entry entry) {
  heap_[position] = entry;
  entry.timer->position = position;
}

void TimerHeap::sift_up(std::size_t position) {
  const Entry entry = heap_[position];
  while (position > 0) {
    const std::size_t parent = (position - 1) / 4;
    if (heap_[parent].when <= entry.when) break;
    place(position, heap_[parent]);
    position = parent;
  }
  place(position, entry);
}

void TimerHeap::sift_down(std::size_t position) {
  const Entry entry = heap_[position];
  for (;;) {
    const std::size_t first = position * 4 + 1;
    if (first >= heap_.size()) break;
    std::size_t least = first;
    for (std::size_t child = first + 1; child < first + 4 && child < heap_.size(); ++child) {
      if (heap_[child].when < heap_[least].when) least = child;
    }
    if (heap_[least].when >= entry.when) break;
    place(position, heap_[least]);
    position = least;
  }
  place(position, entry);
}

void TimerHeap::remove(std::size_t position) {
  Timer* removed = heap_[position].timer;
  const Entry last = heap_.back();
  // Not left behind for those who look for pointers to stacks. (A plain store before the end of a life is no store.)
  __atomic_store_n(&heap_.back().timer, nullptr, __ATOMIC_RELAXED);
  heap_.pop_back();
  if (removed != last.timer) {
    place(position, last);
    sift_up(position);
    sift_down(last.timer->position);
  }
  removed->position = Timer::kUnarmed;
}

void TimerHeap::publish_earliest() {
  earliest_.store(heap_.empty() ? kNever : heap_.front().when, std::memory_order_seq_cst);
}

void TimerHeap::clear() {
  std::lock_guard guard(lock_);
  for (const Entry& entry : heap_) entry.timer->position = Timer::kUnarmed;
  heap_.clear();
  publish_earliest();
}

bool TimerHeap::arm(Timer& timer) {
  std::lock_guard guard(lock_);
  timer.heap = this;
  heap_.push_back({timer.when, &timer});
  sift_up(heap_.size() - 1);
  const bool first = timer.position == 0;
  if (first) publish_earliest();
  return first;
}

bool TimerHeap::disarm_here(Timer& timer) {
  std::lock_guard guard(lock_);
  if (timer.position == Timer::kUnarmed) return false;
  const bool first = timer.position == 0;
  remove(timer.position);
  if (first) publish_earliest();
  return true;
}

bool disarm(Timer& timer) { return timer.heap != nullptr && timer.heap->disarm_here(timer); }

bool TimerHeap::fire(std::uint64_t now) {
  if (earliest() > now) return false;
  std::vector<std::function<void()>> afterwards;
  std::unique_lock guard(lock_);
  bool any = false;
  while (!heap_.empty() && heap_.front().when <= now) {
    Timer* timer = heap_.front().timer;
    const std::uint64_t due = timer->when, period = timer->period;
    remove(0);
    // Under the lock: once disarm has had it, the timer may be gone.
    timer->expired(*timer);
    if (period != 0) {
      timer->when = due + ((now - due) / period + 1) * period;
      heap_.push_back({timer->when, timer});
      sift_up(heap_.size() - 1);
    }
    any = true;
  }
  if (any) publish_earliest();
  afterwards.swap(after_firing_);
  guard.unlock();
  for (const auto& action : afterwards) action();
  return any;
}

}  // namespace fiber::detail
