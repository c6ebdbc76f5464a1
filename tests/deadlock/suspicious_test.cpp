// SPDX-License-Identifier: BSD-2-Clause
// What counts as suspicious and what does not, over looks made by hand.
#include "deadlock/suspicious.h"

#include <fiberprof/registry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fiberprof {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::SizeIs;

constexpr uint64_t kNow = 1'000'000, kOlder = 1'000, kOld = kNow - 5'000, kYoung = kNow - 10;
constexpr uint64_t kChannel = 0x1000, kSite = 0x400, kOtherSite = 0x500;

class Suspect : public testing::Test {
 protected:
  // A fiber that waits since then, at the stack `stack`.
  FiberInfo& wait(uint32_t reason, uint64_t since_ns, uint32_t stack = 1, uint64_t resource = 0) {
    FiberState fiber;
    fiber.info.id = 100 + state.fibers.size();
    fiber.info.state = FIBERPROF_FIBER_PARKED;
    fiber.info.reason = static_cast<uint8_t>(reason);
    fiber.info.since_ns = since_ns;
    fiber.info.creator_pc = kSite;
    fiber.info.resource = resource;
    fiber.alternatives = {{reason, resource}};
    state.by_id[fiber.info.id] = state.fibers.size();
    state.fibers.push_back(fiber);
    stacks.push_back(stack);
    return state.fibers.back().info;
  }
  ObjectInfo channel() {
    ObjectInfo info;
    info.address = kChannel;
    info.kind = FIBERPROF_OBJECT_CHANNEL;
    info.send_rights = 1;
    return info;
  }
  void object(const ObjectInfo& info) { state.objects[info.address].seen = {info, info}; }
  SuspectLook look() { return {state, stacks, kNow, kOlder, proved, {}}; }

  static std::vector<size_t> examples(const Suspicion& one) {
    std::vector<size_t> fibers;
    for (const Suspicion::Example& example : one.examples) fibers.push_back(example.fiber);
    return fibers;
  }

  State state;
  std::vector<uint32_t> stacks;
  std::vector<size_t> proved;
};

TEST_F(Suspect, OldWaitsAreGroupedLargestFirst) {
  wait(FIBERPROF_REASON_MUTEX, kOld, 1);
  wait(FIBERPROF_REASON_MUTEX, kOld - 100, 2);
  wait(FIBERPROF_REASON_MUTEX, kOld - 50, 2);
  wait(FIBERPROF_REASON_CHAN_SEND, kOld, 2);
  const auto found = old_waits(look());
  ASSERT_THAT(found, SizeIs(3));
  EXPECT_EQ(found[0].count, 2u);
  EXPECT_EQ(found[0].stack, 2u);
  EXPECT_EQ(found[0].reason, FIBERPROF_REASON_MUTEX);
  EXPECT_EQ(found[0].oldest_ns, 5'100u);
  EXPECT_THAT(examples(found[0]), ElementsAre(1, 2));
}

TEST_F(Suspect, ExamplesAreTheOldest) {
  for (const uint64_t earlier : {10, 30, 20, 50, 40}) wait(FIBERPROF_REASON_MUTEX, kOld - earlier);
  const auto found = old_waits(look());
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].count, 5u);
  EXPECT_THAT(examples(found[0]), ElementsAre(3, 4, 1));
}

TEST_F(Suspect, WaitsThatMayLastAreNot) {
  wait(FIBERPROF_REASON_MUTEX, kYoung);
  for (const uint32_t reason : {FIBERPROF_REASON_SLEEP, FIBERPROF_REASON_IO_ACCEPT, FIBERPROF_REASON_IO_READ,
                                FIBERPROF_REASON_CONTEXT, FIBERPROF_REASON_JOIN, FIBERPROF_REASON_WAIT_GROUP})
    wait(reason, kOld);
  wait(FIBERPROF_REASON_MUTEX, kOld).deadline_ns = kNow + 1;
  wait(FIBERPROF_REASON_MUTEX, kOld).state = FIBERPROF_FIBER_RUNNABLE;
  proved = {state.fibers.size()};
  wait(FIBERPROF_REASON_MUTEX, kOld);
  EXPECT_THAT(old_waits(look()), IsEmpty());
  for (FiberState& fiber : state.fibers) fiber.alternatives.clear();
  EXPECT_THAT(old_waits(look()), IsEmpty()) << "as a live process's are";
}

TEST_F(Suspect, WaitsThatShouldNotLastAre) {
  const auto reasons = {FIBERPROF_REASON_CHAN_SEND,    FIBERPROF_REASON_MUTEX,    FIBERPROF_REASON_RWLOCK_READ,
                        FIBERPROF_REASON_RWLOCK_WRITE, FIBERPROF_REASON_ONCE,     FIBERPROF_REASON_SEMAPHORE,
                        FIBERPROF_REASON_BARRIER,      FIBERPROF_REASON_IO_WRITE, FIBERPROF_REASON_IO_CONNECT};
  for (const uint32_t reason : reasons) wait(reason, kOld);
  EXPECT_THAT(old_waits(look()), SizeIs(reasons.size()));
}

TEST_F(Suspect, AReceiverIsWhenNobodyIsLeftWhoCouldSend) {
  ObjectInfo without_senders = channel();
  without_senders.send_rights = 0;
  object(without_senders);
  wait(FIBERPROF_REASON_CHAN_RECV, kOld, 1, kChannel);
  EXPECT_THAT(old_waits(look()), SizeIs(1));
  without_senders.timers = 1;
  object(without_senders);
  EXPECT_THAT(old_waits(look()), IsEmpty()) << "a timer will";
  object(channel());
  EXPECT_THAT(old_waits(look()), IsEmpty()) << "it waits for work";
}

// Services in good health, hours after there was last anything to do for some of their fibers.
class Healthy : public Suspect {
 protected:
  void TearDown() override {
    EXPECT_THAT(old_waits(look()), IsEmpty());
    EXPECT_THAT(outliving(look()), IsEmpty());
  }
  static constexpr uint64_t kHours = kNow - 900'000;
};

TEST_F(Healthy, APoolThatHasNothingToDo) {
  for (uint32_t i = 0; i < 1000; ++i) wait(FIBERPROF_REASON_CHAN_RECV, kHours + i * 100, 1, kChannel);
  for (uint32_t i = 0; i < 1000; ++i) wait(FIBERPROF_REASON_CONDITION, kHours + i * 100, 2, 0x2000);
  wait(FIBERPROF_REASON_IO_ACCEPT, kHours, 3);
}

TEST_F(Healthy, WorkersAndStagesWithAChannelEachSinceTheStart) {
  for (uint32_t i = 0; i < 100; ++i) wait(FIBERPROF_REASON_CHAN_RECV, kHours + i, 1, kChannel + i * 0x100);
}

TEST_F(Healthy, ListenersForWhatIsRare) {
  for (uint32_t i = 0; i < 9; ++i) wait(FIBERPROF_REASON_CHAN_RECV, kHours + i * 10'000, 1 + i, kChannel + i * 0x100);
  wait(FIBERPROF_REASON_SELECT, kHours, 20, 0x9000);
  state.fibers.back().alternatives = {{FIBERPROF_REASON_CHAN_RECV, 0x9000}, {FIBERPROF_REASON_CHAN_SEND, 0x9100}};
}

TEST_F(Healthy, SilentConnectionsOfTwoFibersEach) {
  for (uint32_t i = 0; i < 100; ++i) {
    const uint64_t reader = wait(FIBERPROF_REASON_IO_READ, kHours + i * 5'000, 1, i).id;
    wait(FIBERPROF_REASON_CHAN_RECV, kHours + i * 5'000, 2, kChannel + i * 0x100).parent = reader;
  }
}

TEST_F(Healthy, TheMainFiberWaitsForAll) {
  wait(FIBERPROF_REASON_WAIT_GROUP, kHours, 1, 0x3000);
  wait(FIBERPROF_REASON_JOIN, kHours, 2, 7);
}

class LeftBehind : public Suspect {
 protected:
  // One after the other, each with a channel of its own.
  void requests(size_t count, uint64_t every_ns) {
    for (size_t i = 0; i < count; ++i) wait(FIBERPROF_REASON_CHAN_RECV, kOld - i * every_ns, 1, kChannel + i * 0x100);
  }
};

TEST_F(LeftBehind, ByRequestsThatNobodyAnswers) {
  requests(kLeftBehind, 200);
  const auto found = old_waits(look());
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].count, kLeftBehind);
  EXPECT_THAT(examples(found[0]), ElementsAre(9, 8, 7));
}

TEST_F(LeftBehind, AFewAreListeners) {
  requests(kLeftBehind - 1, 200);
  EXPECT_THAT(old_waits(look()), IsEmpty());
}

TEST_F(LeftBehind, SomeAtTheSameTimeArePeers) {
  requests(kLeftBehind, kOlder / kLeftBehind);
  EXPECT_THAT(old_waits(look()), IsEmpty());
}

TEST_F(LeftBehind, OneThatServesSomebodyIsInUse) {
  requests(kLeftBehind, 200);
  object(channel());
  EXPECT_THAT(old_waits(look()), SizeIs(1));
  wait(FIBERPROF_REASON_CHAN_RECV, kYoung, 2, kChannel).deadline_ns = kNow + 1;
  EXPECT_THAT(old_waits(look()), SizeIs(1)) << "who gives up was not served";
  wait(FIBERPROF_REASON_CHAN_RECV, kYoung, 2, kChannel);
  EXPECT_THAT(old_waits(look()), IsEmpty()) << "now there are fewer than kLeftBehind";
}

TEST_F(LeftBehind, SelectsOfTheSameKind) {
  requests(kLeftBehind, 200);
  for (FiberState& fiber : state.fibers) {
    fiber.info.reason = FIBERPROF_REASON_SELECT;
    fiber.alternatives.push_back({FIBERPROF_REASON_CHAN_SEND, 0x2000});
  }
  EXPECT_THAT(old_waits(look()), SizeIs(1));
  for (FiberState& fiber : state.fibers) fiber.alternatives.push_back({FIBERPROF_REASON_IO_ACCEPT, 0});
  EXPECT_THAT(old_waits(look()), IsEmpty());
}

TEST_F(Suspect, OutlivingAParent) {
  wait(FIBERPROF_REASON_MUTEX, kOld).parent = 7;  // has ended
  wait(FIBERPROF_REASON_MUTEX, kOld - 1).parent = 7;
  wait(FIBERPROF_REASON_MUTEX, kOld).parent = 100;    // lives
  wait(FIBERPROF_REASON_MUTEX, kOld).parent = 0;      // a thread
  wait(FIBERPROF_REASON_MUTEX, kYoung).parent = 7;    // for a moment
  wait(FIBERPROF_REASON_IO_ACCEPT, kOld).parent = 7;  // a server that its starter left alone
  const auto found = outliving(look());
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].count, 2u);
  EXPECT_EQ(found[0].site, kSite);
  EXPECT_THAT(examples(found[0]), ElementsAre(1, 0));
  state.torn = 1;
  EXPECT_THAT(outliving(look()), IsEmpty()) << "it may be the one that could not be read";
}

// A fiber that polls in vain, by what the looks at it found.
Polling polling(size_t fiber, uint32_t inside, uint32_t outside) {
  Polling one;
  one.fiber = fiber;
  one.since_ns = kOld - fiber;
  one.at = 0x77;
  one.stack = 5;
  one.polls = 1000;
  one.in_ns = 50;
  one.inside = inside;
  one.outside = outside;
  return one;
}

TEST(Spin, IsToSpendMostTimeInPollsThatMoveNothing) {
  EXPECT_TRUE(polling(0, 24, 0).spins());
  EXPECT_TRUE(polling(0, 13, 12).spins());
  EXPECT_FALSE(polling(0, 12, 12).spins());
  EXPECT_FALSE(polling(0, Polling::kLeastInside - 1, 0).spins()) << "too few looks to say";
  Polling moving = polling(0, 24, 0);
  moving.moved = true;
  EXPECT_FALSE(moving.spins());
  Polling idle = polling(0, 24, 0);
  idle.polls = 0;
  EXPECT_FALSE(idle.spins()) << "was in the same poll all the time, or in none";
}

TEST_F(Suspect, SpinningByPlace) {
  SuspectLook seen = look();
  seen.polling = {polling(0, 24, 0), polling(1, 20, 4), polling(2, 1, 23), polling(3, 0, 24)};
  seen.polling[3].at = 0x88;
  const auto found = spinning(seen);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].kind, SuspicionKind::spins);
  EXPECT_EQ(found[0].count, 2u);
  EXPECT_EQ(found[0].checked, 3u);
  EXPECT_EQ(found[0].polls, 2000u);
  EXPECT_EQ(found[0].in_ns, 50u);
  EXPECT_EQ(found[0].stack, 5u);
  EXPECT_EQ(found[0].oldest_ns, 5'001u);
  EXPECT_THAT(examples(found[0]), ElementsAre(1, 0));
}

class Grow : public Suspect {
 protected:
  // A look at so many fibers of one site, and as many waits with a deadline at stack 3 if that is wanted.
  std::vector<Suspicion> at(size_t fibers, bool deadlines = false) {
    state = {};
    stacks.clear();
    for (size_t i = 0; i < fibers; ++i) {
      FiberInfo& fiber = wait(FIBERPROF_REASON_CHAN_RECV, kYoung, 3);
      fiber.deadline_ns = deadlines ? kNow + 1 : 0;
      if (deadlines) fiber.creator_pc = i % 2 == 0 ? kSite : kOtherSite;
    }
    growth.look(look());
    return growth.found(look());
  }
  Growth growth;
};

TEST_F(Grow, RisingAtEveryLookIsGrowth) {
  for (const size_t count : {100, 110, 120, 130}) EXPECT_THAT(at(count), IsEmpty()) << "too few looks";
  const auto found = at(140);
  ASSERT_THAT(found, SizeIs(1));
  EXPECT_EQ(found[0].kind, SuspicionKind::grows);
  EXPECT_EQ(found[0].site, kSite);
  EXPECT_EQ(found[0].count, 140u);
  EXPECT_THAT(found[0].seen, ElementsAre(100, 110, 120, 130, 140));
  EXPECT_THAT(at(140), IsEmpty()) << "once it stands still";
}

TEST_F(Grow, FromNothing) {
  for (const size_t count : {0, 10, 20, 30}) at(count);
  EXPECT_THAT(at(40), SizeIs(1));
}

TEST_F(Grow, UpAndDownIsNot) {
  for (const size_t count : {100, 200, 190, 300, 400}) EXPECT_THAT(at(count), IsEmpty());
}

TEST_F(Grow, ALittleIsNot) {
  for (const size_t count : {0, 4, 8, 12, 19}) EXPECT_THAT(at(count), IsEmpty()) << "fewer than kLeast";
  growth = {};
  for (const size_t count : {1000, 1010, 1020, 1030, 1099}) EXPECT_THAT(at(count), IsEmpty()) << "not a tenth";
}

TEST_F(Grow, DeadlinesByStack) {
  std::vector<Suspicion> found;
  for (const size_t count : {10, 20, 30, 40, 46}) found = at(count, true);
  ASSERT_THAT(found, SizeIs(1)) << "neither site alone rose by kLeast";
  EXPECT_EQ(found[0].kind, SuspicionKind::deadlines);
  EXPECT_EQ(found[0].stack, 3u);
  EXPECT_EQ(found[0].reason, FIBERPROF_REASON_CHAN_RECV);
  EXPECT_THAT(found[0].seen, ElementsAre(10, 20, 30, 40, 46));
}

}  // namespace
}  // namespace fiberprof
