// SPDX-License-Identifier: BSD-2-Clause
// How often fibers are counted: very many of them more rarely than all the rest is read, so that counting takes half of
// one CPU's hundredth, in one process or in a hundred.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>

namespace fiberprof {

class CensusPace {
 public:
  // `rarity`: times as rarely.
  explicit CensusPace(uint64_t rarity = 1) : rarity_(rarity) {}
  bool due(uint64_t now_ns) const { return now_ns >= next_ns_; }
  // Calls `count`, which takes what it takes.
  template <class Count>
  void measure(const Count& count) {
    const uint64_t start = cpu_ns();
    count();
    spent_ns_ += cpu_ns() - start;
  }
  // After the last measure() of a refresh.
  void plan(uint64_t now_ns) {
    // It may come a little early: the cost is never the same twice, and every other refresh is not what is meant.
    next_ns_ = std::max(next_ns_, now_ns + spent_ns_ * kShare * rarity_ * 3 / 4);
    spent_ns_ = 0;
  }

 private:
  static constexpr uint64_t kShare = 200;
  static uint64_t cpu_ns() {
    timespec time{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
  }

  uint64_t rarity_;
  uint64_t next_ns_ = 0, spent_ns_ = 0;
};

}  // namespace fiberprof
