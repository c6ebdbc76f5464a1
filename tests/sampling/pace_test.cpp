// SPDX-License-Identifier: BSD-2-Clause
// How often the monitor ticks, by what its wake-ups cost.
#include "sched/tick_pace.h"

#include <gtest/gtest.h>

namespace {

using fiber::detail::TickPace;

// The pace after many periods of 50 ms in which each wake-up cost so much.
TickPace after(std::uint64_t cost_ns) {
  TickPace pace;
  std::uint64_t cpu_ns = 1'000'000;
  for (int i = 0; i < 40; ++i) {
    pace.adapt(cpu_ns, 20);
    cpu_ns += 20 * cost_ns;
  }
  return pace;
}

TEST(TickPace, IsTheSlowestUntilACostIsKnown) {
  TickPace pace;
  EXPECT_EQ(pace.period(), TickPace::kSlowest);
  pace.adapt(3'000, 50);  // since when is not known
  EXPECT_EQ(pace.period(), TickPace::kSlowest);
  pace.adapt(3'000 + 50 * 8'000, 50);
  EXPECT_EQ(pace.period(), 1'600'000u);
}

TEST(TickPace, IsWhatAShareOfACpuPaysFor) {
  EXPECT_EQ(after(0).period(), TickPace::kFastest);
  EXPECT_EQ(after(4'000).period(), TickPace::kFastest);
  EXPECT_EQ(after(12'000).period(), 2'400'000u);
  EXPECT_EQ(after(25'000).period(), TickPace::kSlowest);
  EXPECT_EQ(after(~std::uint64_t{0} / 2'000).period(), TickPace::kSlowest) << "a clock that lies";
}

TEST(TickPace, FollowsAChangeButNotAtOnce) {
  TickPace pace = after(6'000);
  const std::uint64_t cheap = pace.period();
  pace.adapt(1'000'000 + 39 * 20 * 6'000 + 20 * 18'000, 20);
  EXPECT_GT(pace.period(), cheap);
  EXPECT_LT(pace.period(), 18'000 * TickPace::kShare * 2 / 3);
  const std::uint64_t before = pace.period();
  pace.adapt(~std::uint64_t{0}, 0);  // never woken
  EXPECT_EQ(pace.period(), before);
}

TEST(TickPace, IsNotInStepWithAnything) {
  const TickPace pace = after(10'000);
  std::uint64_t least = ~std::uint64_t{0}, most = 0, sum = 0;
  constexpr std::uint64_t kTimes = 10'000;
  for (std::uint64_t i = 0; i < kTimes; ++i) {
    const std::uint64_t each = pace.until_next(i * 0x9e3779b97f4a7c15);
    least = std::min(least, each);
    most = std::max(most, each);
    sum += each;
  }
  EXPECT_GE(least, pace.least());
  EXPECT_LT(most, pace.period() * 5 / 4);
  EXPECT_GT(most - least, pace.period() * 2 / 5);
  EXPECT_NEAR(static_cast<double>(sum / kTimes), static_cast<double>(pace.period()),
              static_cast<double>(pace.period()) / 50);
}

}  // namespace
