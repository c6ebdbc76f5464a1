// SPDX-License-Identifier: BSD-2-Clause
// Armed timers: one heap per processor, under a lock of its own, and one word that says when the next of them is due.
//
// A processor fires its own at its scheduling points, where looking costs one relaxed load; every now and then, and
// before it goes idle, it looks at the others' too. Whoever sleeps in epoll sleeps until the earliest of all heaps
// (sched/idle.cpp).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "sched/spinlock.h"

namespace fiber::detail {

class TimerHeap;

// Owned by whoever arms it, and must stay where it is between arm and disarm, or until it has expired.
struct Timer {
  static constexpr std::size_t kUnarmed = ~std::size_t{0};
  std::uint64_t when = 0;  // CLOCK_MONOTONIC ns
  // Called once it is due, on any worker, under the heap's lock: it must not wait, arm or disarm a timer, or call what
  // is not the runtime's own. What does such things it gives to heap->after_firing().
  void (*expired)(Timer& timer) = nullptr;
  // Not 0: goes off again that long after, and so on, until disarmed; times that have passed meanwhile are left out.
  std::uint64_t period = 0;
  TimerHeap* heap = nullptr;        // set by arm
  std::size_t position = kUnarmed;  // guarded by the heap's lock
};

class alignas(64) TimerHeap {
 public:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  // Any thread, O(log n). True when it has become the earliest of this heap: whoever sleeps until the next timer must
  // be told. A fiber arms with Scheduler::arm, which does.
  bool arm(Timer& timer);
  // Fires everything due at `now`, in the order of time. Any worker. Returns whether anything was.
  bool fire(std::uint64_t now);
  // For `expired`: to be called as soon as the lock is free, on the same thread. The timer may be gone by then.
  void after_firing(std::function<void()> action) { after_firing_.push_back(std::move(action)); }
  // Forgets all timers: their run is over. They are unarmed afterwards, and never expire.
  void clear();
  // When the next one is due, or kNever; one relaxed load, may be a moment old.
  std::uint64_t earliest() const { return earliest_.load(std::memory_order_relaxed); }
  // The same, for whoever goes to sleep: ordered with arm, which publishes before it asks who sleeps.
  std::uint64_t earliest_before_sleep() const { return earliest_.load(std::memory_order_seq_cst); }

 private:
  friend bool disarm(Timer& timer);
  bool disarm_here(Timer& timer);
  struct Entry {
    std::uint64_t when;  // a copy: sifting does not touch the stacks that the timers lie on, but for their positions
    Timer* timer;
  };
  void place(std::size_t position, Entry entry);
  void sift_up(std::size_t position);
  void sift_down(std::size_t position);
  void remove(std::size_t position);
  void publish_earliest();

  std::atomic<std::uint64_t> earliest_{kNever};
  SpinLock lock_;
  std::vector<std::function<void()>> after_firing_;
  std::vector<Entry> heap_;  // 4-ary: half as deep as a binary one
};

// Afterwards the timer is in no heap, and `expired` has returned or will not be called. True: it had not expired.
// A timer that was never armed is left alone. Any thread, one at a time per timer. O(log n).
bool disarm(Timer& timer);

}  // namespace fiber::detail
