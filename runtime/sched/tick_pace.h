// SPDX-License-Identifier: BSD-2-Clause
// How often the coarse clock ticks while somebody watches. What a wake-up by a timer costs a CPU is not the same
// everywhere: on a virtual machine, where timers may leave the guest, 24 us were measured. A thousand a second are 2 %
// of a CPU then, more than all the rest of the sampled tier. So the monitor looks what its wake-ups cost here, and
// ticks as often as a 200th of a CPU pays for, between once in 1 ms and once in 5: slower, and queues, which are sampled
// as often, are known too badly, and waits of some milliseconds, of which each is good to a tick.
//
// This depends on the cost of earlier wake-ups only, never on a wait: what probe/sampling.h asks of its marks.
#pragma once

#include <algorithm>
#include <cstdint>

namespace fiber::detail {

class TickPace {
 public:
  static constexpr std::uint64_t kFastest = 1'000'000, kSlowest = 5'000'000;  // nanoseconds
  static constexpr std::uint64_t kShare = 200;                                // one in so many nanoseconds of a CPU

  // Nanoseconds between two ticks, on average.
  std::uint64_t period() const { return period_; }
  // No tick is due within so many nanoseconds of the last.
  std::uint64_t least() const { return period_ * 3 / 4; }
  // Until the next. Not in step with what the program does every millisecond, of which samples would always see the
  // same.
  std::uint64_t until_next(std::uint64_t random) const { return least() + random % (period_ / 2); }

  // The monitor's CPU clock is at `cpu_ns`, after `wakes` since it was told last.
  void adapt(std::uint64_t cpu_ns, std::uint64_t wakes) {
    const std::uint64_t spent = cpu_ns - seen_cpu_ns_;
    const bool first = seen_cpu_ns_ == 0;
    seen_cpu_ns_ = cpu_ns;
    if (first || wakes == 0) return;
    const std::uint64_t cost = std::min(spent / wakes, kSlowest);
    cost_ = cost_ == 0 ? cost : (3 * cost_ + cost) / 4;
    period_ = std::clamp(cost_ * kShare, kFastest, kSlowest);
  }

 private:
  std::uint64_t period_ = kSlowest;
  std::uint64_t cost_ = 0;  // of a wake-up, ns
  std::uint64_t seen_cpu_ns_ = 0;
};

}  // namespace fiber::detail
