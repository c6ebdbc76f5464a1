// SPDX-License-Identifier: BSD-2-Clause
// How many events the sampled tier makes: bounded whatever the load.
#include <gtest/gtest.h>

#include <cmath>

#include "sampling/simulation.h"

namespace sampling_test {
namespace {

constexpr double kPeriod = static_cast<double>(sampling::kPeriodNs);

// A hundred thousand fibers that sleep for 3 ms each, as fast as two processors can do that.
TEST(Bounded, ManyLongWaits) {
  Simulation simulation(1, late_ticks, 2);
  const auto run = [&](double ns) {
    for (const double end = simulation.now() + ns; simulation.now() < end; simulation.advance(500))
      simulation.park(0, 3e6, simulation.random()() % 2);
  };
  run(2 * kPeriod);  // the first period does not know yet what comes
  const std::uint64_t before = simulation.total().events;
  run(10 * kPeriod);
  const double events = static_cast<double>(simulation.total().events - before);
  // Two strata of two processors; ticks that come late make a period 10 % longer; 5 sigma of a Poisson number.
  const double most = 10 * 4 * 1.1 * sampling::kBudget;
  EXPECT_LT(events, most + 5 * std::sqrt(most));
  EXPECT_GT(events, 10 * sampling::kBudget);
}

// From nothing to 20 million waits a second within one period, which no past could announce: each halving of the
// probability costs one budget, so a period costs at most one for each doubling of the load.
TEST(Bounded, ABurstThatNothingAnnounced) {
  for (const double length : {1e3, 3e6}) {
    Simulation simulation(2, even_ticks);
    for (int i = 0; i < 40; ++i) simulation.advance(5e6), simulation.park(0, 1e3);
    for (int i = 0; i < 400'000; ++i) simulation.advance(50), simulation.park(1, length);
    simulation.finish();
    const double doublings = std::ceil(std::log2(400'000 / sampling::kBudget));
    EXPECT_LT(simulation.most_events(), (doublings + 1) * sampling::kBudget + 5 * std::sqrt(sampling::kBudget));
    EXPECT_GT(simulation.most_events(), sampling::kBudget);
  }
}

// What returns every 100 ms does not surprise again: the rates come down more slowly than that.
TEST(Bounded, BurstsThatReturn) {
  Simulation simulation(3, late_ticks);
  const auto burst = [&] {
    for (int i = 0; i < 20'000; ++i) simulation.advance(500), simulation.park(1, 1e3);
    simulation.advance(9e7);
  };
  for (int i = 0; i < 3; ++i) burst();
  const std::uint64_t before = simulation.total().events;
  for (int i = 0; i < 20; ++i) burst();
  const double per_burst = static_cast<double>(simulation.total().events - before) / 20;
  // The rate that was right for one period has come down by 3/4 twice when the next burst begins.
  EXPECT_LT(per_burst, 16.0 / 9 * 1.1 * sampling::kBudget + 5 * std::sqrt(sampling::kBudget / 20.0) * 2);
}

TEST(Bounded, FewWaitsAreAllSeen) {
  Simulation simulation(4, even_ticks);
  for (int i = 0; i < 10'000; ++i) {
    simulation.advance(2e6);
    simulation.park(0, i % 2 == 0 ? 1e4 : 1e7);
  }
  simulation.finish();
  EXPECT_EQ(simulation.total().events, 9'999u);  // but for the first, before which nothing was drawn
  EXPECT_EQ(simulation.total().estimated_waits, 9'999);
}

}  // namespace
}  // namespace sampling_test
