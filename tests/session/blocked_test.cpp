// SPDX-License-Identifier: BSD-2-Clause
// Waits fired with known values from known depths come out exactly.
#include <fiberprof/registry.h>

#include "fixture.h"

namespace fiberprof::test {
namespace {

TEST_F(SessionTest, CountsTotalsHistogramAndStackOfKnownWaitsAreExact) {
  const auto target = start_target();
  auto session = Session::start(options_for(*target));
  ASSERT_TRUE(session) << session.error().message();
  // The session is younger than a wait of 5 ms would be: shorter ones, so that none is clipped.
  ASSERT_EQ(target->ask("blocked 1000 2 3000 100 5"), "fired 1000");
  ASSERT_EQ(target->ask("blocked 500 4 70 2 5"), "fired 500");
  ASSERT_EQ(target->ask("on 1 blocked 10 2 3000 100 9"), "fired 10");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  ASSERT_EQ(snapshot->blocked.size(), 3u);
  EXPECT_EQ(snapshot->losses.total(), 0u);
  uint64_t of_channel = 0;
  size_t depth_5 = 0, depth_9 = 0;
  for (const auto& entry : snapshot->blocked) {
    EXPECT_EQ(entry.pid, static_cast<uint32_t>(target->pid()));
    EXPECT_EQ(entry.events, entry.count);
    ASSERT_TRUE(snapshot->stacks.contains(entry.stack));
    if (entry.reason == FIBERPROF_REASON_MUTEX) {
      EXPECT_EQ(entry.count, 500u);
      EXPECT_EQ(entry.parked_ns, 500u * 70);
      EXPECT_EQ(entry.queued_ns, 500u * 2);
      EXPECT_EQ(entry.max_ns, 72u);
      EXPECT_EQ(entry.parked[6], 500u);  // 64 to 127 ns
    } else {
      ASSERT_EQ(entry.reason, FIBERPROF_REASON_CHAN_RECV);
      of_channel += entry.count;
      EXPECT_EQ(entry.parked_ns, entry.count * 3000);
      EXPECT_EQ(entry.queued_ns, entry.count * 100);
      EXPECT_EQ(entry.max_ns, 3100u);
      EXPECT_EQ(entry.parked[11], entry.count);  // 2048 to 4095 ns
      (entry.count == 1000 ? depth_5 : depth_9) = snapshot->stacks.at(entry.stack).size();
    }
  }
  EXPECT_EQ(of_channel, 1010u);
  // Four more levels of recursion, each through one std::function-free frame.
  EXPECT_EQ(depth_9, depth_5 + 4);
}

TEST_F(SessionTest, SampledEventsCountWithTheirWeight) {
  const auto target = start_target();
  auto session = Session::start(options_for(*target, Tier::sampled));
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target->ask("sampled 30 13 400 50 1 17"), "fired 30");
  ASSERT_EQ(target->ask("blocked 30 13 400 50 1"), "fired 0") << "the exact tier must not be on";
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  ASSERT_EQ(snapshot->blocked.size(), 1u);
  const auto& entry = snapshot->blocked[0];
  EXPECT_EQ(entry.events, 30u);
  EXPECT_EQ(entry.count, 30u * 17);
  EXPECT_EQ(entry.parked_ns, 30u * 17 * 400);
  EXPECT_EQ(entry.queued_ns, 30u * 17 * 50);
  EXPECT_EQ(entry.max_ns, 450u);
}

TEST_F(SessionTest, AWaitThatBeganBeforeTheAttachCountsOnlySinceThen) {
  const auto target = start_target();
  auto session = Session::start(options_for(*target));
  ASSERT_TRUE(session) << session.error().message();
  const uint64_t hour = 3600'000'000'000;
  ASSERT_EQ(target->ask("blocked 2 2 " + std::to_string(hour) + " 5 1"), "fired 2");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  ASSERT_EQ(snapshot->blocked.size(), 1u);
  const auto& entry = snapshot->blocked[0];
  const uint64_t session_ns = snapshot->time_ns - snapshot->attached_ns;
  EXPECT_EQ(entry.queued_ns, 10u) << "the end of the wait lies within the session";
  EXPECT_GT(entry.parked_ns, 0u);
  EXPECT_LE(entry.parked_ns, 2 * session_ns);
  EXPECT_EQ(entry.max_ns, hour + 5) << "how long it was is known in full";
  EXPECT_EQ(snapshot->losses.clipped, 2u);
  EXPECT_EQ(snapshot->losses.total(), 0u);
}

TEST_F(SessionTest, DeepStacksAreCutAndCounted) {
  const auto target = start_target();
  auto options = options_for(*target);
  options.off_cpu = false;  // a preemption down there would be one more
  auto session = Session::start(options);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target->ask("blocked 3 2 10 1 500"), "fired 3");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  ASSERT_EQ(snapshot->blocked.size(), 1u);
  EXPECT_EQ(snapshot->stacks.at(snapshot->blocked[0].stack).size(), 127u);
  EXPECT_EQ(snapshot->losses.stack_truncated, 3u);
  EXPECT_EQ(snapshot->losses.total(), 0u) << "cut, not lost";
}

TEST_F(SessionTest, QueueDepthsAndCountedProbesAreExact) {
  const auto target = start_target();
  auto session = Session::start(options_for(*target));
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target->ask("queue 0 0 0 10"), "ok");
  ASSERT_EQ(target->ask("queue 0 7 1 20"), "ok");
  ASSERT_EQ(target->ask("queue 1 256 2 3"), "ok");
  ASSERT_EQ(target->ask("handoff 4"), "ok");
  ASSERT_EQ(target->ask("overrun 5"), "ok");
  ASSERT_EQ(target->ask("start"), "ok");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  ASSERT_EQ(snapshot->queues.size(), 2u);
  const auto& first = snapshot->queues[0];
  EXPECT_EQ(first.processor, 0u);
  EXPECT_EQ(first.ticks, 30u);
  EXPECT_EQ(first.depth_sum, 140u);
  EXPECT_EQ(first.depth_max, 7u);
  EXPECT_EQ(first.last_depth, 7u);
  EXPECT_THAT(first.state_ticks, testing::ElementsAre(10, 20, 0));
  EXPECT_EQ(first.depth_log2[0], 10u);
  EXPECT_EQ(first.depth_log2[3], 20u);  // 4 to 7
  const auto& second = snapshot->queues[1];
  EXPECT_EQ(second.depth_sum, 768u);
  EXPECT_EQ(second.depth_log2[9], 3u);  // 256 to 511
  EXPECT_THAT(second.state_ticks, testing::ElementsAre(0, 0, 3));
  const auto counters = snapshot->counters.at(static_cast<uint32_t>(target->pid()));
  EXPECT_EQ(counters.handoffs, 4u);
  EXPECT_EQ(counters.overruns, 5u);
  EXPECT_EQ(counters.worker_starts, 1u);
}

}  // namespace
}  // namespace fiberprof::test
