// SPDX-License-Identifier: BSD-2-Clause
// The target ends, execs or is killed; there are several; the maps are too small; there is nothing to attach to.
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>

#include "fixture.h"

namespace fiberprof::test {
namespace {

uint64_t events(const Snapshot& snapshot) {
  uint64_t sum = 0;
  for (const auto& entry : snapshot.blocked) sum += entry.events;
  return sum;
}

TEST_F(SessionTest, WhatWasCountedOutlivesTheTarget) {
  const auto target = start_target();
  auto session = Session::start(options_for(*target));
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target->ask("blocked 77 2 10 1 1"), "fired 77");
  EXPECT_EQ(session->alive(), 1u);
  target->kill(SIGKILL);
  pollfd end{session->pidfds().at(0), POLLIN, 0};
  EXPECT_EQ(poll(&end, 1, 10'000), 1) << "the pidfd tells";
  EXPECT_EQ(session->alive(), 0u);
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(events(*snapshot), 77u);
}

TEST_F(SessionTest, ATargetThatExecsIsLeftAlone) {
  const auto target = start_target();
  auto session = Session::start(options_for(*target));
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target->ask("blocked 5 2 10 1 1"), "fired 5");
  target->send("exec");
  while (process_name(static_cast<uint32_t>(target->pid())) != "sleep") ASSERT_EQ(kill(target->pid(), 0), 0);
  EXPECT_EQ(session->alive(), 1u) << "it is still the same process";
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(events(*snapshot), 5u);
  // Its only thread sleeps, under the id of a thread that may have been a worker.
  for (const auto& entry : snapshot->off_cpu) EXPECT_LE(entry.count, 100u);
  session->detach();
  EXPECT_EQ(kill(target->pid(), 0), 0) << "and it lives on";
}

TEST_F(SessionTest, SeveralProcessesAreKeptApartAndOthersAreNotCounted) {
  const auto first = start_target(), second = start_target(), bystander = start_target();
  SessionOptions options;
  options.tier = Tier::exact;
  options.processes = {find(*first), find(*second)};
  auto session = Session::start(options);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(first->ask("blocked 10 2 10 1 1"), "fired 10");
  ASSERT_EQ(second->ask("blocked 20 2 10 1 1"), "fired 20");
  // Attached by file, its probe fires too; it must not be counted.
  ASSERT_EQ(bystander->ask("blocked 40 2 10 1 1"), "fired 40");
  ASSERT_EQ(first->ask("sleep 5 1"), "ok");
  ASSERT_EQ(bystander->ask("sleep 5 1"), "ok");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  std::map<uint32_t, uint64_t> by_pid;
  for (const auto& entry : snapshot->blocked) by_pid[entry.pid] += entry.count;
  EXPECT_THAT(by_pid, testing::ElementsAre(testing::Pair(first->pid(), 10), testing::Pair(second->pid(), 20)));
  for (const auto& entry : snapshot->off_cpu) EXPECT_NE(entry.pid, static_cast<uint32_t>(bystander->pid()));
}

TEST_F(SessionTest, ProcessesOfTheSameBinaryThatStartLaterAreWatchedWhenAsked) {
  const auto first = start_target();
  auto options = options_for(*first);
  options.all_of_binary = true;
  auto session = Session::start(options);
  ASSERT_TRUE(session) << session.error().message();
  const auto later = start_target();
  ASSERT_EQ(later->ask("blocked 33 2 10 1 1"), "fired 33");
  ASSERT_EQ(later->ask("sleep 5 2"), "ok");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  ASSERT_EQ(snapshot->blocked.size(), 1u);
  EXPECT_EQ(snapshot->blocked[0].pid, static_cast<uint32_t>(later->pid()));
  EXPECT_EQ(snapshot->blocked[0].count, 33u);
  EXPECT_TRUE(std::any_of(snapshot->off_cpu.begin(), snapshot->off_cpu.end(), [&](const auto& entry) {
    return entry.pid == static_cast<uint32_t>(later->pid()) && entry.cause == OffCpuCause::syscall;
  })) << "its workers announced themselves";
}

TEST_F(SessionTest, FullMapsAreCountedByCauseAndKnownKeysGoOn) {
  const auto target = start_target();
  auto options = options_for(*target);
  options.max_blocked = 2;
  options.max_stacks = 3;
  options.max_queues = 1;
  options.off_cpu = false;
  auto session = Session::start(options);
  ASSERT_TRUE(session) << session.error().message();
  // Eight stacks of three waits each; then the first again.
  for (int depth = 0; depth < 8; ++depth)
    ASSERT_EQ(target->ask("blocked 3 2 10 1 " + std::to_string(depth)), "fired 3");
  ASSERT_EQ(target->ask("blocked 3 2 10 1 0"), "fired 3");
  ASSERT_EQ(target->ask("queue 0 1 1 5"), "ok");
  ASSERT_EQ(target->ask("queue 1 1 1 7"), "ok");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  EXPECT_EQ(snapshot->blocked.size(), 2u);
  EXPECT_EQ(events(*snapshot) + snapshot->losses.blocked_map_full, 27u) << "every wait is counted or counted as lost";
  EXPECT_EQ(events(*snapshot), 9u) << "the first two stacks, and the first again";
  EXPECT_EQ(snapshot->losses.stack_map_full, 5u * 3) << "five of eight stacks did not fit";
  EXPECT_EQ(snapshot->losses.queue_map_full, 7u);
  EXPECT_EQ(snapshot->queues.size(), 1u);
  EXPECT_EQ(snapshot->queues[0].ticks, 5u);
}

TEST_F(SessionTest, MinimumAndReasonsAreFilteredInTheKernel) {
  const auto target = start_target();
  auto options = options_for(*target);
  options.min_wait_ns = 1000;
  options.reasons = 1u << 4;
  auto session = Session::start(options);
  ASSERT_TRUE(session) << session.error().message();
  ASSERT_EQ(target->ask("blocked 3 4 900 99 1"), "fired 3");
  ASSERT_EQ(target->ask("blocked 5 4 900 100 1"), "fired 5");
  ASSERT_EQ(target->ask("blocked 7 2 5000 0 1"), "fired 7");
  const auto snapshot = session->snapshot();
  ASSERT_TRUE(snapshot);
  ASSERT_EQ(snapshot->blocked.size(), 1u);
  EXPECT_EQ(snapshot->blocked[0].count, 5u);
  EXPECT_EQ(snapshot->losses.total(), 0u) << "left out, not lost";
}

TEST_F(SessionTest, NothingToAttachToIsOneClearLine) {
  const auto target = start_target();
  auto options = options_for(*target);
  std::erase_if(options.processes[0].binary.probes, [](const Probe& probe) { return probe.name == "blocked"; });
  const auto session = Session::start(options);
  ASSERT_FALSE(session);
  EXPECT_THAT(session.error().message(), testing::HasSubstr("no usable probe fiber:blocked"));
  EXPECT_THAT(session.error().message(), testing::Not(testing::HasSubstr("\n")));
  EXPECT_FALSE(Session::start(SessionOptions{}));
}

}  // namespace
}  // namespace fiberprof::test
