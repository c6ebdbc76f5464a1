// SPDX-License-Identifier: BSD-2-Clause
// The quick way past decisions of which none is drawn.
#include <gtest/gtest.h>

#include <random>

#include "probe/sampling.h"

namespace fiber::detail::sampling {
namespace {

// The same seed, the same decisions, periods and starts: what one draws by passed() alone the other draws with the
// quick way in front of it, and the quick way is there nearly always.
TEST(ShortDraws, TheQuickWayDrawsTheSame) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    ShortDraws plain, quick;
    plain.seed(seed);
    quick.seed(seed);
    std::uint64_t quickly = 0, calls = 0, drawn = 0;
    for (int step = 0; step < 200'000; ++step) {
      const auto due = std::min<std::int64_t>(plain.left(), 8);
      const auto decisions = static_cast<std::uint32_t>(std::max<std::int64_t>(due, 1));
      const std::uint64_t expected = plain.passed(decisions);
      ++calls;
      std::uint64_t weight = 0;
      if (quick.passed_quietly(decisions))
        ++quickly;
      else
        weight = quick.passed(decisions);
      ASSERT_EQ(weight, expected) << "seed " << seed << ", step " << step;
      ASSERT_EQ(quick.left(), plain.left());
      if (weight != 0) {
        ++drawn;
        if (random() % 4 != 0) {  // else it was no wait
          plain.count();
          quick.count();
        }
      }
      if (random() % 5'000 == 0) {
        const std::uint64_t waits = random() % 2'000'000;
        plain.adapt(waits, kPeriodNs);
        quick.adapt(waits, kPeriodNs);
      }
      if (random() % 50'000 == 0) {
        plain.stop();
        quick.stop();
      }
    }
    EXPECT_GT(drawn, 100u);
    EXPECT_GT(quickly * 10, calls * 5);
  }
}

}  // namespace
}  // namespace fiber::detail::sampling
