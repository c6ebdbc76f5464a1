// SPDX-License-Identifier: BSD-2-Clause
// Time that fibers are queued, how many fibers there are, and how long they are queued after a wait.
#include "session/delays.h"

#include <cmath>
#include <thread>

#include "fixture.h"
#include "session/stopwatch.h"

namespace fiberprof::test {
namespace {

TEST_F(SessionTest, QueueSamplesAddUpByEntryAndFibersOverTime) {
  const auto target = start_target();
  auto session = Session::start(options_for(*target));
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target->ask("queued 4096 7 1000000 30"), "ok");
  ASSERT_EQ(target->ask("queued 8192 1 500000 2"), "ok");
  ASSERT_EQ(target->ask("fibers 250 1000000 40"), "ok");
  ASSERT_EQ(target->ask("fibers 90 2000000 1"), "ok");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  ASSERT_EQ(snapshot->queued.size(), 2u);
  for (const QueuedEntry& entry : snapshot->queued) {
    EXPECT_EQ(entry.pid, static_cast<uint32_t>(target->pid()));
    const bool first = entry.fiber_entry == 4096;
    EXPECT_EQ(entry.fiber_entry, first ? 4096u : 8192u);
    EXPECT_EQ(entry.samples, first ? 30u : 2u);
    EXPECT_EQ(entry.total_ns, first ? 30u * 7 * 1'000'000 : 2u * 500'000);
  }
  const auto& counters = snapshot->counters.at(static_cast<uint32_t>(target->pid()));
  EXPECT_EQ(counters.fibers, 90u);
  EXPECT_GE(counters.fiber_us, 250u * 40 * 1000 + 90u * 2000);
  EXPECT_EQ(snapshot->losses.total(), 0u);
}

TEST_F(SessionTest, FibersLivedBeforeTheirFirstSample) {
  const auto target = start_target();
  auto session = Session::start(options_for(*target));
  ASSERT_TRUE(session) << session.error().message();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  const uint64_t before_us = (monotonic_ns() - session->attached_ns()) / 1000;
  ASSERT_EQ(target->ask("fibers 100 1000000 1"), "ok");
  const uint64_t after_us = (monotonic_ns() - session->attached_ns()) / 1000;
  ASSERT_EQ(target->ask("fibers 100 1000000 3"), "ok");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  const uint64_t lived_us = snapshot->counters.at(static_cast<uint32_t>(target->pid())).fiber_us;
  EXPECT_GE(lived_us, 100 * before_us + 300'000);
  EXPECT_LE(lived_us, 100 * (after_us + 1) + 300'000);
}

TEST_F(SessionTest, FibersDidNotLiveWhileThereWereNone) {
  const auto target = start_target();
  auto session = Session::start(options_for(*target));
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target->ask("fibers 0 1000000 1"), "ok");
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  ASSERT_EQ(target->ask("fibers 100 1000000 1"), "ok");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  EXPECT_EQ(snapshot->counters.at(static_cast<uint32_t>(target->pid())).fiber_us, 100'000u);
}

// Where in a tick an undrawn wait began is not known: its error is that of the runtime's ticks, however long these are.
TEST_F(SessionTest, TheErrorOfARoughWaitIsThatOfATick) {
  for (const double tick : {1e6, 4e6}) {
    const auto target = start_target();
    auto session = Session::start(options_for(*target, Tier::sampled));
    ASSERT_TRUE(session) << session.error().message();
    ASSERT_EQ(target->ask("fibers 1 " + std::to_string(static_cast<uint64_t>(tick)) + " 100"), "ok");
    std::this_thread::sleep_for(std::chrono::milliseconds(50));  // only what lies within the session counts
    ASSERT_EQ(target->ask("sampled 10 2 1500001 0 1 1"), "fired 10");
    ASSERT_EQ(target->ask("sampled 10 3 20000000 0 1 1"), "fired 10");
    ASSERT_EQ(target->ask("sampled 10 4 0 20000001 1 1"), "fired 10");
    const auto snapshot = session->snapshot();
    ASSERT_TRUE(snapshot) << snapshot.error().message();
    ASSERT_EQ(snapshot->blocked.size(), 3u);
    for (const BlockedEntry& entry : snapshot->blocked) {
      if (entry.reason == 2)
        EXPECT_NEAR(std::sqrt(entry.variance_ns2), tick * std::sqrt(10 / 6.0), tick / 100);
      else
        EXPECT_EQ(entry.variance_ns2, 0) << "it was drawn, and measured; how long it was queued always is";
    }
  }
}

TEST_F(SessionTest, DelaysAfterAWaitAreCountedByTheirWeight) {
  const auto target = start_target();
  auto session = Session::start(options_for(*target, Tier::sampled));
  ASSERT_TRUE(session) << session.error().message();
  // 980 of 1000 were queued for 2 us, the others for 1 ms
  ASSERT_EQ(target->ask("sampled 98 2 3000 2000 1 10"), "fired 98");
  ASSERT_EQ(target->ask("sampled 20 2 3000 1000000 1 1"), "fired 20");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  const auto delays = percentiles(snapshot->delays.at(static_cast<uint32_t>(target->pid())));
  EXPECT_EQ(delays.count, 1000u);
  EXPECT_NEAR(static_cast<double>(delays.p50_ns), 2000, 0.25 * 2000);
  EXPECT_NEAR(static_cast<double>(delays.p99_ns), 1e6, 0.25e6);
  EXPECT_NEAR(static_cast<double>(delays.p999_ns), 1e6, 0.25e6);
}

// --- the histogram itself: what the kernel side puts into a bucket must be what percentiles() takes it for ----------

TEST(Delays, APercentileLiesInItsBucket) {
  for (uint64_t value = 0; value < 4; ++value) {
    DelayHistogram histogram{};
    histogram[value] = 5;
    EXPECT_EQ(percentiles(histogram).p50_ns, value);
  }
  for (int exponent = 2; exponent < 40; ++exponent) {
    for (uint64_t fraction = 0; fraction < 4; ++fraction) {
      DelayHistogram histogram{};
      histogram[static_cast<size_t>(4 * exponent) + fraction] = 7;
      const uint64_t start = (4 + fraction) << exponent >> 2, end = (5 + fraction) << exponent >> 2;
      const uint64_t middle = percentiles(histogram).p50_ns;
      EXPECT_GE(middle, start);
      EXPECT_LT(middle, end) << exponent << "/" << fraction;
    }
  }
}

TEST(Delays, OfNothingAreNothingAndDifferencesForgetThePast) {
  EXPECT_EQ(percentiles(DelayHistogram{}).count, 0u);
  DelayHistogram before{}, now{};
  before[20] = 5;
  now[20] = 5;
  now[80] = 3;
  EXPECT_EQ(percentiles(difference(now, before)).count, 3u);
}

}  // namespace
}  // namespace fiberprof::test
