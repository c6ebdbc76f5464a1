// SPDX-License-Identifier: BSD-2-Clause
// A processor's own runnable fibers, and in which order they run:
//
//   next      the fiber readied last: it works on what the one before it has just made. A streak of it is bounded.
//   spawned   a few fibers that have not run yet, newest first (spawn_deque.h); more of them go to the ring
//   ring      everybody else, in the order they became runnable; what does not fit goes to the backlog, a list without
//             bound behind it. Processors give each other of their backlogs, so that none waits there longer than
//             elsewhere (Scheduler::balance)
//
// Spawned and other fibers take turns, and a spawned one that has become old goes before the newest.
//
// The owner is the worker that holds the processor. Thieves are other workers; with a single processor there are none,
// and the owner does without locked instructions (5 ns each).
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

#include "sched/fiber_list.h"
#include "sched/next_slot.h"
#include "sched/run_queue.h"
#include "sched/spawn_deque.h"
#include "sched/spinlock.h"

namespace fiber::detail {

class LocalQueue {
 public:
  // Empties it. `thieves`: whether other workers will look here.
  void reset(bool thieves);

  // --- owner -------------------------------------------------------------------------------------------------------
  // Runs before all others. Whom it displaces goes last.
  void push_next(Fiber* fiber) {
    if (Fiber* displaced = swap_next(fiber)) push_last(displaced);
  }
  void push_last(Fiber* fiber) {
    if (has_backlog() || !ring_.push(fiber)) [[unlikely]]
      push_backlog(fiber);
  }
  void push_spawned(Fiber* fiber) {
    if (!spawned_.push(fiber)) [[unlikely]]
      push_last(fiber);
  }
  // What time it is, CLOCK_MONOTONIC ns: for those who are queued from now on.
  void set_time(std::uint64_t now) { time_ = now; }
  // Null: none.
  [[gnu::always_inline]] Fiber* pop() {
    if (next_.peek() != nullptr && ++next_streak_ <= kMaxNextStreak) {
      if (Fiber* fiber = swap_next(nullptr)) return fiber;
    }
    next_streak_ = 0;
    const bool spawned_first = (++turn_ & 1) != 0;
    if (spawned_first && spawned_.size() != 0) [[unlikely]] {
      if (Fiber* fiber = pop_spawned()) return fiber;
    }
    if (Fiber* fiber = pop_ring()) return fiber;
    return pop_rest();
  }

  // Moves everybody to the end of `to`. Only while there are no thieves.
  void take_all(std::vector<Fiber*>& to);

  // --- thieves -----------------------------------------------------------------------------------------------------
  // Moves about half of this queue to `thief`, whose owner is the caller, and returns one of them to run. Null: nothing
  // here, or somebody else was faster. `thief` must be empty.
  Fiber* steal_into(LocalQueue& thief);
  // The same from the backlog alone, its oldest, to a thief that has work of its own and whose owner is the caller.
  // They go to the front of the thief's backlog. At most `most` of them, and to a thief without a backlog not so many
  // that it would have more work than there is here.
  void share_backlog(LocalQueue& thief, std::uint32_t most);
  // The fiber in `next`, which is left to its processor as long as that seems to get round to it: 1 to 3 us.
  Fiber* steal_next();

  // --- any thread --------------------------------------------------------------------------------------------------
  bool has_thieves() const { return thieves_; }
  bool has_next() const { return next_.peek() != nullptr; }
  bool has_backlog() const { return backlog_size_.load(std::memory_order_relaxed) != 0; }
  // How long the first of the backlog has been there, in nanoseconds; 0 if there is none. As exact as the owner's calls
  // of set_time are frequent.
  std::uint64_t longest_wait(std::uint64_t now) const {
    const std::uint64_t oldest = oldest_.load(std::memory_order_relaxed);
    return now > oldest ? now - oldest : 0;
  }
  // One of them, `random` deciding which, each as likely as the others; it may be gone by now. Null: seems empty.
  const Fiber* sample(std::uint64_t random);
  // How many are runnable here; exact only for the owner.
  std::uint32_t size() const {
    return ring_.size() + spawned_.size() + backlog_size_.load(std::memory_order_relaxed) + (has_next() ? 1 : 0);
  }

 private:
  // How often in a row `next` may go first: two fibers that keep waking each other would otherwise starve the rest.
  static constexpr std::uint32_t kMaxNextStreak = 64;
  // Once in a period the oldest of the spawned goes first, if it is old. Each time opens another subtree of a tree of
  // fibers, of which then more exist at a time: every 32nd turn made the walk over a million a breadth-first one, with
  // 800,000 stacks, and every 1024th still 250,000. Nanoseconds.
  static constexpr std::uint64_t kAgingPeriod = 10'000'000;
  static constexpr std::uint64_t kOld = 50'000'000;

  [[gnu::always_inline]] Fiber* swap_next(Fiber* fiber) {
    return thieves_ ? next_.swap(fiber) : next_.swap_alone(fiber);
  }
  [[gnu::always_inline]] Fiber* pop_ring() { return thieves_ ? ring_.pop() : ring_.pop_alone(); }
  Fiber* pop_spawned();
  Fiber* pop_rest();
  void push_backlog(Fiber* fiber);
  static constexpr std::uint64_t kNobody = ~std::uint64_t{0};
  // With the lock held: after every change of the backlog.
  void backlog_changed() {
    backlog_size_.store(backlog_.size, std::memory_order_relaxed);
    oldest_.store(backlog_.head == nullptr ? kNobody : backlog_.head->queued, std::memory_order_relaxed);
  }
  // Moves the front of the backlog to `ring`, whose owner is the caller, and returns the first of it.
  Fiber* refill(RunQueue& ring);

  NextSlot<Fiber*> next_;
  bool thieves_ = false;
  std::uint32_t next_streak_ = 0;
  std::uint32_t turn_ = 0;
  std::uint64_t last_aged_ = 0;
  std::atomic<std::uint32_t> backlog_size_{0};
  RunQueue ring_;
  SpawnDeque spawned_;
  SpinLock backlog_lock_;
  FiberList backlog_;
  std::atomic<std::uint64_t> oldest_{kNobody};  // `queued` of the first in the backlog
  std::uint64_t time_ = 0;                      // the owner's, as of its last look at the clock
};

}  // namespace fiber::detail
