// SPDX-License-Identifier: BSD-2-Clause
// Sampled totals against exact ones, over many seeds and loads.
//
// The bounds are not chosen: a simulation knows the variance V of its estimate, the sum over all waits of what their
// choices add, and the largest single amount M. By Freedman's inequality the error of one run exceeds t with a
// probability of at most 2 exp(-t^2 / (2 (V + M t / 3))): t is taken for 6e-7, which for many small amounts is the
// usual 5 sigma. All runs of a load together are held to the same with 6e-5, 4 sigma, which is where a bias shows: the
// error of n runs grows with n then, and its bound with sqrt(n). And the same check has to find bugs that were put in.
#include <gtest/gtest.h>

#include <cmath>

#include "sampling/simulation.h"

namespace sampling_test {
namespace {

using Load = std::function<void(Simulation&)>;

double exponential(Simulation& simulation, double mean) {
  return std::exponential_distribution<double>(1 / mean)(simulation.random());
}
double between(Simulation& simulation, double low, double high) {
  return std::uniform_real_distribution<double>(low, high)(simulation.random());
}

// Microseconds to seconds, as a service has them: kind by length.
void mixture(Simulation& s) {
  for (int i = 0; i < 60'000; ++i) {
    s.advance(exponential(s, 4e3));
    s.park(0, exponential(s, 2e3));
    if (i % 7 == 0) s.yield();
    if (i % 300 == 0) s.park(1, between(s, 2e5, 3e6));
    if (i % 3'000 == 0) s.park(2, exponential(s, 5e7));
    if (i % 20'000 == 0) s.park(3, between(s, 1e9, 3e9));
  }
}
// A few waits for 150 ms, then as much as fits.
void bursts(Simulation& s) {
  for (int burst = 0; burst < 24; ++burst) {
    for (int i = 0; i < 300; ++i) s.advance(exponential(s, 5e5)), s.park(0, 3e5);
    s.advance(between(s, 0, 3e7));
    for (int i = 0; i < 8'000; ++i) s.advance(exponential(s, 5e2)), s.park(1, exponential(s, 2e3));
  }
}
// A few hundred stacks that wait long and seldom, under a load of short waits.
void rare_long(Simulation& s) {
  for (int i = 0; i < 60'000; ++i) {
    s.advance(2e3);
    s.park(0, 1e3);
    if (i % 100 == 0) s.park(1 + i / 100 % 300, exponential(s, 2e7));
  }
}
// Where the strata meet: waits of half a tick to four ticks.
void around_ticks_of(double tick, Simulation& s) {
  constexpr double kLengths[] = {0.5, 0.8, 1.0, 1.2, 1.5, 1.8, 2.0, 2.2, 2.5, 3.0, 4.1};
  for (int i = 0; i < 30'000; ++i) {
    s.advance(exponential(s, tick / 100));
    const auto kind = static_cast<int>(s.random()() % std::size(kLengths));
    s.park(kind, kLengths[kind] * tick);
  }
}
void near_the_border(Simulation& s) { around_ticks_of(1e6, s); }
void near_the_slow_border(Simulation& s) { around_ticks_of(8e6, s); }
// Far more long waits than the budget has room for, of very different lengths.
void too_many_long(Simulation& s) {
  for (int i = 0; i < 100'000; ++i) {
    s.advance(1e3);
    s.park(0, 3e6);
    if (i % 1'000 == 0) s.park(1, between(s, 1e7, 1e8));
    if (i % 20'000 == 0) s.park(2, 1e9);
  }
}

struct Verdict {
  double worst = 0;     // of any run and kind: error, as a part of what one run may have
  double mean = 0;      // of all runs together
  double deviance = 0;  // of the total: what is wrong with the estimated variance on average, in sigma of that
};

constexpr double kOneRun = 6e-7, kAllRuns = 6e-5;

double tolerance(double variance, double largest, double probability) {
  const double log = std::log(2 / probability), by_largest = largest * log / 3;
  return by_largest + std::sqrt(by_largest * by_largest + 2 * variance * log);
}

Verdict judge(const Load& load, const Ticks& ticks, int seeds, Faults faults = {}) {
  Verdict verdict;
  struct Sum {
    double error = 0, variance = 0, largest = 0;
  };
  std::map<int, Sum> kinds;
  double difference = 0, squares = 0;
  for (int seed = 1; seed <= seeds; ++seed) {
    Simulation simulation(static_cast<std::uint64_t>(seed), ticks, 1, faults);
    simulation.advance(between(simulation, 0, 5e7));  // a program knows nothing of ticks and periods
    load(simulation);
    simulation.finish();
    std::map<int, Sums> all = simulation.kinds();
    all[-1] = simulation.total();
    for (const auto& [kind, sums] : all) {
      const double error = sums.estimate - sums.truth;
      verdict.worst =
          std::max(verdict.worst, std::abs(error) / std::max(tolerance(sums.variance, sums.largest, kOneRun), 1.0));
      kinds[kind].error += error;
      kinds[kind].variance += sums.variance;
      kinds[kind].largest = std::max(kinds[kind].largest, sums.largest);
    }
    // Both have the same expectation but for the rounding of long waits, which is not estimated.
    const double off = all[-1].estimated_variance - all[-1].choice_variance;
    difference += off;
    squares += off * off;
  }
  for (const auto& [kind, sum] : kinds)
    verdict.mean =
        std::max(verdict.mean, std::abs(sum.error) / std::max(tolerance(sum.variance, sum.largest, kAllRuns), 1.0));
  verdict.deviance = squares > 0 ? std::abs(difference) / std::sqrt(squares) : 0;
  return verdict;
}

struct NamedLoad {
  const char* name;
  Load load;
};
const NamedLoad kLoads[] = {{"mixture", mixture},
                            {"bursts", bursts},
                            {"rare long", rare_long},
                            {"near the border", near_the_border},
                            {"slow border", near_the_slow_border},
                            {"too many long", too_many_long}};
const std::pair<const char*, Ticks> kTicks[] = {
    {"even", even_ticks}, {"late", late_ticks}, {"slow", slow_ticks}, {"uneven", uneven_ticks}, {"dense", dense_ticks}};
constexpr int kSeeds = 32;

TEST(Unbiased, EveryLoadUnderEveryClock) {
  for (const auto& [name, load] : kLoads) {
    for (const auto& [ticks_name, ticks] : kTicks) {
      SCOPED_TRACE(std::string(name) + ", " + ticks_name + " ticks");
      const Verdict verdict = judge(load, ticks, kSeeds);
      EXPECT_LT(verdict.worst, 1);
      EXPECT_LT(verdict.mean, 1);
      EXPECT_LT(verdict.deviance, 4);
      std::printf(
          "%-16s %-6s ticks: worst run %.2f, all runs %.2f of what they may; estimated variance off by %.1f sigma\n",
          name, ticks_name, verdict.worst, verdict.mean, verdict.deviance);
    }
  }
}

TEST(Unbiased, OneStackInAMillionIsSeenIfItWaitsLong) {
  Simulation simulation(5, late_ticks);
  for (int i = 0; i < 1'000'000; ++i) {
    simulation.advance(1e3);
    simulation.park(0, 8e2);
    if (i == 654'321) simulation.park(1, 5e7);
  }
  simulation.finish();
  const Sums& one = simulation.kinds().at(1);
  EXPECT_EQ(one.estimated_waits, 1);
  EXPECT_NEAR(one.estimate, one.truth, 1.3e7);  // the longest interval of these ticks
  const Sums& rest = simulation.kinds().at(0);
  EXPECT_LT(std::abs(rest.estimate - rest.truth), tolerance(rest.variance, rest.largest, kOneRun));
}

// Each of these bugs must be found by the very check above.
TEST(Unbiased, TheCheckFindsABiasedValue) {
  EXPECT_GT(judge(near_the_border, even_ticks, kSeeds, {.value_by_ticks = true}).mean, 1);
  EXPECT_GT(judge(near_the_border, even_ticks, kSeeds, {.value_by_mean = true}).mean, 1);
  EXPECT_GT(judge(near_the_border, late_ticks, kSeeds, {.value_by_mean = true}).mean, 1);
}
TEST(Unbiased, TheCheckFindsAWeightThatTheEventChanged) {
  EXPECT_GT(judge(bursts, even_ticks, 3 * kSeeds, {.weight_when_fired = true}).mean, 1);
}
TEST(Unbiased, TheCheckFindsWaitsThatCountTwice) {
  EXPECT_GT(judge(near_the_border, late_ticks, kSeeds, {.both_strata = true}).mean, 1);
}
TEST(Unbiased, TheCheckFindsWaitsThatAreDropped) {
  EXPECT_GT(judge(too_many_long, even_ticks, kSeeds, {.unweighted_long = true}).mean, 1);
}

}  // namespace
}  // namespace sampling_test
