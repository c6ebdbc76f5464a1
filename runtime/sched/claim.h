// SPDX-License-Identifier: BSD-2-Clause
// The protocol of a wait that several parties may end (park.h): one of them wins, and the waiter is woken exactly once,
// never before it is off its stack. A template over the atomics, explored in tests/model.
#pragma once

#include <cstdint>

#include "sched/atomics.h"

namespace fiber::detail {

template <class Atomics>
struct BasicClaim {
  // From kFirst on: claimed, with the outcome state - kFirst.
  static constexpr std::uint32_t kOpen = 0, kParked = 1, kFirst = 2;
  typename Atomics::template atomic<std::uint32_t> state{kOpen};

  bool claimed() const { return state.load(std::memory_order_acquire) >= kFirst; }
  // Once claimed. Also makes what the claimer wrote before visible.
  std::uint32_t outcome() const { return state.load(std::memory_order_acquire) - kFirst; }

  // The waiter's side, once it is off its stack: from now on it must be woken. False: claimed before, and nobody will
  // wake it.
  bool commit() {
    std::uint32_t open = kOpen;
    return state.compare_exchange_strong(open, kParked, std::memory_order_acq_rel);
  }

  // A party's side. `won_parked`: it must wake the waiter. After winning the claim may be gone at any moment; after
  // losing too, unless the caller knows better.
  enum class Attempt { lost, won, won_parked };
  Attempt attempt(std::uint32_t outcome) {
    std::uint32_t seen = state.load(std::memory_order_acquire);
    do {
      if (seen >= kFirst) return Attempt::lost;
    } while (
        !state.compare_exchange_weak(seen, kFirst + outcome, std::memory_order_acq_rel, std::memory_order_acquire));
    return seen == kParked ? Attempt::won_parked : Attempt::won;
  }
};

}  // namespace fiber::detail
