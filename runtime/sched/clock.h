// SPDX-License-Identifier: BSD-2-Clause
// Time, as CLOCK_MONOTONIC nanoseconds: that of the kernel, and that of the runtime.
#pragma once

#include <atomic>
#include <cstdint>
#include <ctime>

namespace fiber::detail {

inline std::uint64_t clock_ns(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(time.tv_nsec);
}
inline std::uint64_t now_ns() { return clock_ns(CLOCK_MONOTONIC); }

// Not 0: the time is simulated, because a seed determines the run (sched/seeded.h).
extern std::atomic<std::uint64_t> simulated_ns;

// What deadlines, timers and programs go by. Probes and what tools see are in the kernel's time.
inline std::uint64_t timer_now() {
  const std::uint64_t simulated = simulated_ns.load(std::memory_order_relaxed);
  return simulated != 0 ? simulated : now_ns();
}

}  // namespace fiber::detail
