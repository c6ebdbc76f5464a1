// SPDX-License-Identifier: BSD-2-Clause
// Armed timers of all fibers: one heap under one lock, and one word that says when the next is due.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sched/park.h"
#include "sched/spinlock.h"

namespace fiber::detail {

// A deadline on a wait. Lives on the waiter's stack, between arm and disarm.
struct Timer {
  std::uint64_t when = 0;  // CLOCK_MONOTONIC ns
  Claim* wait = nullptr;
  std::uint32_t outcome = 0;
  std::size_t position = kUnarmed;
  static constexpr std::size_t kUnarmed = ~std::size_t{0};
};

class Timers {
 public:
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};

  // O(log n). True when it has become the earliest: whoever sleeps until the next timer must be told.
  bool arm(Timer& timer);
  // Afterwards the timer is in no list and its claim will not be touched. O(log n).
  void disarm(Timer& timer);
  // Fires everything due. Returns whether anything was.
  bool fire(std::uint64_t now);
  // When the next one is due, or kNever. One relaxed load.
  std::uint64_t earliest() const { return earliest_.load(std::memory_order_seq_cst); }

 private:
  void place(std::size_t position, Timer* timer);
  void sift_up(std::size_t position);
  void sift_down(std::size_t position);
  void remove(std::size_t position);
  void publish_earliest();

  SpinLock lock_;
  std::vector<Timer*> heap_;
  std::atomic<std::uint64_t> earliest_{kNever};
};

}  // namespace fiber::detail
