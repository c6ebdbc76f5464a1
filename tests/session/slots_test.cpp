// SPDX-License-Identifier: BSD-2-Clause
// The sampled tier counts in slots of shared memory: each read shows what has come, a full array is counted, and slots
// that are given back begin at zero.
#include <algorithm>

#include "fixture.h"

namespace fiberprof::test {
namespace {

class SlotsTest : public SessionTest {
 protected:
  void start(uint32_t slots) {
    target_ = start_target();
    auto options = options_for(*target_, Tier::sampled);
    options.max_blocked = slots;
    options.off_cpu = false;
    auto session = Session::start(options);
    ASSERT_TRUE(session) << session.error().message();
    session_.emplace(std::move(*session));
  }
  // Waits of 10 us and 1 us in the queue, on a stack for each depth.
  void fire(int waits, int depth, int weight = 1) {
    const std::string count = std::to_string(waits);
    ASSERT_EQ(
        target_->ask("sampled " + count + " 2 10000 1000 " + std::to_string(depth) + " " + std::to_string(weight)),
        "fired " + count);
  }
  Snapshot read() {
    auto snapshot = session_->snapshot();
    EXPECT_TRUE(snapshot) << snapshot.error().message();
    for (const BlockedEntry& entry : snapshot->blocked) {
      EXPECT_EQ(entry.pid, static_cast<uint32_t>(target_->pid()));
      EXPECT_EQ(entry.parked_ns, entry.count * 10'000);
      EXPECT_EQ(entry.queued_ns, entry.count * 1'000);
      EXPECT_EQ(entry.max_ns, 11'000u);
      EXPECT_EQ(entry.parked[13], entry.count);
      EXPECT_TRUE(snapshot->stacks.contains(entry.stack));
    }
    return std::move(*snapshot);
  }
  static std::vector<uint64_t> events(const Snapshot& snapshot) {
    std::vector<uint64_t> all;
    for (const BlockedEntry& entry : snapshot.blocked) all.push_back(entry.events);
    std::sort(all.begin(), all.end());
    return all;
  }

  std::unique_ptr<Child> target_;
  std::optional<Session> session_;
};

using testing::ElementsAre;

TEST_F(SlotsTest, EachReadShowsWhatHasCome) {
  start(100);
  EXPECT_TRUE(read().blocked.empty());
  fire(3, 0);
  fire(4, 1, 17);
  EXPECT_THAT(events(read()), ElementsAre(3, 4));
  EXPECT_THAT(events(read()), ElementsAre(3, 4));
  fire(2, 0, 5);
  fire(7, 2);
  const Snapshot last = read();
  EXPECT_THAT(events(last), ElementsAre(4, 5, 7));
  uint64_t waits = 0;
  for (const BlockedEntry& entry : last.blocked) waits += entry.count;
  EXPECT_EQ(waits, 3u + 4 * 17 + 2 * 5 + 7);
}

TEST_F(SlotsTest, WhatDoesNotFitIsCountedAndKnownKeysGoOn) {
  start(2);
  for (int depth = 0; depth < 8; ++depth) fire(3, depth);
  fire(3, 0, 10);
  const Snapshot snapshot = read();
  EXPECT_THAT(events(snapshot), ElementsAre(3, 6));
  EXPECT_EQ(snapshot.losses.blocked_map_full, 6u * 3);
}

TEST_F(SlotsTest, WhatIsGivenBackIsUsedAgainFromZero) {
  start(3);
  for (int round = 0; round < 5; ++round) {
    for (int depth = 0; depth < 3; ++depth) fire(2 + depth, depth);
    fire(1, 3);  // one too many
    Snapshot full = read();
    EXPECT_THAT(events(full), ElementsAre(2, 3, 4)) << round;
    EXPECT_EQ(full.losses.blocked_map_full, static_cast<uint64_t>(round + 1));
    const auto middle =
        std::find_if(full.blocked.begin(), full.blocked.end(), [](const auto& entry) { return entry.events == 3; });
    Snapshot part;
    part.blocked = {*middle};
    session_->forget(part);
    EXPECT_THAT(events(read()), ElementsAre(2, 4));
    fire(9, 4);  // in its place
    EXPECT_THAT(events(read()), ElementsAre(2, 4, 9));
    session_->forget(read());
    EXPECT_TRUE(read().blocked.empty());
  }
}

}  // namespace
}  // namespace fiberprof::test
