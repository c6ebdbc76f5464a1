// SPDX-License-Identifier: BSD-2-Clause
#include "sched/local_queue.h"

#include <algorithm>

#include "registry/registry.h"
#include "sched/clock.h"

namespace fiber::detail {

void LocalQueue::reset(bool thieves) {
  thieves_ = false;
  while (pop() != nullptr) {
  }
  next_streak_ = turn_ = 0;
  thieves_ = thieves;
  next_.set_always_locked(!asymmetric_available());
}

void LocalQueue::take_all(std::vector<Fiber*>& to) {
  if (Fiber* fiber = swap_next(nullptr)) to.push_back(fiber);
  while (Fiber* fiber = spawned_.pop_newest_alone()) to.push_back(fiber);
  while (Fiber* fiber = pop_ring()) to.push_back(fiber);
  while (Fiber* fiber = backlog_.pop()) to.push_back(fiber);
  backlog_changed();
}

Fiber* LocalQueue::pop_spawned() {
  const std::uint64_t clock = coarse_clock();
  if (clock - last_aged_ >= kAgingPeriod) [[unlikely]] {
    last_aged_ = clock;
    const Fiber* oldest = spawned_.peek_oldest();
    if (oldest != nullptr && clock - __atomic_load_n(&oldest->record.since, __ATOMIC_RELAXED) >= kOld) {
      return spawned_.take_oldest();
    }
  }
  return thieves_ ? spawned_.pop_newest() : spawned_.pop_newest_alone();
}

Fiber* LocalQueue::pop_rest() {
  if (has_backlog()) {
    if (Fiber* fiber = refill(ring_)) return fiber;
  }
  while (spawned_.size() != 0) {
    if (Fiber* fiber = pop_spawned()) return fiber;
  }
  return next_.peek() != nullptr ? swap_next(nullptr) : nullptr;
}

void LocalQueue::push_backlog(Fiber* fiber) {
  // The owner's note of the time is not kept up while there is no backlog.
  if (thieves_ && !has_backlog()) time_ = now_ns();
  fiber->queued = time_;
  std::lock_guard guard(backlog_lock_);
  backlog_.push(fiber);
  backlog_changed();
}

Fiber* LocalQueue::refill(RunQueue& ring) {
  std::lock_guard guard(backlog_lock_);
  Fiber* first = backlog_.pop();
  if (first == nullptr) return nullptr;
  for (std::uint32_t moved = std::min(backlog_.size, RunQueue::kCapacity / 2); moved-- > 0;) {
    Fiber* fiber = backlog_.head;
    if (!ring.push(fiber)) break;
    backlog_.pop();
  }
  backlog_changed();
  return first;
}

Fiber* LocalQueue::steal_into(LocalQueue& thief) {
  if (Fiber* fiber = ring_.steal_into(thief.ring_)) return fiber;
  if (has_backlog()) {
    if (Fiber* fiber = refill(thief.ring_)) return fiber;
  }
  return spawned_.size() == 0 ? nullptr : spawned_.take_oldest();
}

void LocalQueue::share_backlog(LocalQueue& thief, std::uint32_t most) {
  const bool behind = thief.has_backlog();
  const std::uint32_t here = size(), there = thief.size();  // both change meanwhile
  if (!behind) most = std::min(most, (here - std::min(here, there)) / 2);
  FiberList moved;
  {
    std::lock_guard guard(backlog_lock_);
    for (; most != 0 && backlog_.head != nullptr; --most) moved.push(backlog_.pop());
    backlog_changed();
  }
  if (behind) {
    std::lock_guard guard(thief.backlog_lock_);
    thief.backlog_.push_front(moved);
    thief.backlog_changed();
  } else {
    while (Fiber* fiber = moved.pop()) thief.push_last(fiber);
  }
}

const Fiber* LocalQueue::sample(std::uint64_t random) {
  // The front of the backlog stands for all of it: everybody in it gets there.
  constexpr std::uint32_t kFront = 128;
  const Fiber* next = next_.peek();
  const std::uint32_t ring = ring_.size(), spawned = spawned_.size();
  const std::uint32_t all = (next != nullptr) + ring + spawned + backlog_size_.load(std::memory_order_relaxed);
  if (all == 0) return nullptr;
  auto place = static_cast<std::uint32_t>(random % all);
  if (next != nullptr && place-- == 0) return next;
  if (place < ring) return ring_.peek(place);
  place -= ring;
  if (place < spawned) return spawned_.peek(place);
  place = (place - spawned) % kFront;
  std::lock_guard guard(backlog_lock_);
  const Fiber* fiber = backlog_.head;
  for (; place != 0 && fiber != nullptr && fiber->next != nullptr; --place) fiber = fiber->next;
  return fiber;
}

Fiber* LocalQueue::steal_next() { return asymmetric_available() ? next_.steal() : next_.steal_locked(); }

}  // namespace fiber::detail
