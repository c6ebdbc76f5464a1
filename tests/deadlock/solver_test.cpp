// SPDX-License-Identifier: BSD-2-Clause
// The rules of who can still run, one by one, over states made by hand.
#include "deadlock/solver.h"

#include <fiberprof/registry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "deadlock/states.h"

namespace fiberprof {
namespace {

using test::lock;
using test::receive;
using test::send;
using test::Solve;
using testing::ElementsAre;
using testing::IsEmpty;

// Reaches what it is told to, from the beginning or as soon as a fiber lives.
class FakeEvidence final : public Evidence {
 public:
  bool has(Right right, uint64_t object) const override { return reached_.contains({object, right}); }
  int64_t tokens(uint64_t object, int64_t) const override {
    const auto found = tokens_.find(object);
    return found == tokens_.end() ? 0 : found->second;
  }
  void revive(const FiberState& fiber, std::vector<uint64_t>& changed) override {
    for (const auto& [object, right] : with_[fiber.info.id]) {
      reached_.insert({object, right});
      changed.push_back(object);
    }
    for (const uint64_t group : tokens_of_[fiber.info.id]) {
      ++tokens_[group];
      changed.push_back(group);
    }
  }
  void always(uint64_t object, Right right) { reached_.insert({object, right}); }
  void if_lives(uint64_t fiber, uint64_t object, Right right) { with_[fiber].insert({object, right}); }
  void token_of(uint64_t fiber, uint64_t group) { tokens_of_[fiber].push_back(group); }

 private:
  std::set<std::pair<uint64_t, Right>> reached_;
  std::map<uint64_t, std::set<std::pair<uint64_t, Right>>> with_;
  std::map<uint64_t, int64_t> tokens_;
  std::map<uint64_t, std::vector<uint64_t>> tokens_of_;
};

TEST_F(Solve, ACycleOfLocksIsDeadWithAllBehindIt) {
  mutex(10, 2);
  mutex(20, 1);
  fiber(1, {lock(10)});
  fiber(2, {lock(20)});
  fiber(3, {lock(10)});
  fiber(4, {{FIBERPROF_REASON_JOIN, 3}});
  runs(5);
  EXPECT_THAT(dead(), ElementsAre(1, 2, 3, 4));
  ASSERT_EQ(verdict.causes.size(), 1u);
  EXPECT_EQ(verdict.causes[0].kind, DeadlockKind::cycle);
  EXPECT_THAT(verdict.causes[0].fibers, ElementsAre(0, 1));
  EXPECT_THAT(verdict.causes[0].behind, ElementsAre(2, 3));
  EXPECT_FALSE(verdict.global);
}

TEST_F(Solve, ALockOfWhoeverLivesOrIsUnknownIsAwaitedInVainByNobody) {
  mutex(10, 2);
  mutex(20, FIBERPROF_OWNER_THREAD | 77);
  mutex(30, 0);
  fiber(1, {lock(10)});
  runs(2);
  fiber(3, {lock(20)});
  fiber(4, {lock(30)});
  EXPECT_THAT(dead(), IsEmpty());
}

TEST_F(Solve, WhoeverHasEndedGivesNoLockBack) {
  mutex(10, 99);
  fiber(1, {lock(10)});
  EXPECT_THAT(dead(), ElementsAre(1));
  EXPECT_EQ(verdict.causes.at(0).kind, DeadlockKind::orphan);
  EXPECT_TRUE(verdict.global);
}

TEST_F(Solve, AFiberThatCouldNotBeReadMayBeTheOwner) {
  mutex(10, 99);
  fiber(1, {lock(10)});
  state.torn = 1;
  EXPECT_THAT(dead(), IsEmpty());
}

TEST_F(Solve, AnOwnerThatChangedBetweenTheReadsCounts) {
  mutex(10, 1);
  fiber(1, {lock(10)});
  state.objects[10].seen[1] = state.objects[10].seen[0];
  state.objects[10].seen[1]->owner = 7;
  EXPECT_THAT(dead(), IsEmpty());
}

TEST_F(Solve, MemoryThatIsAnotherObjectByNowProvesNothing) {
  object(10, FIBERPROF_OBJECT_ONCE).owner = 1;
  fiber(1, {lock(10)});
  EXPECT_THAT(dead(), IsEmpty());
}

TEST_F(Solve, OnlySettledWaitsWithoutADeadlineAreInQuestion) {
  mutex(10, 1);
  fiber(1, {lock(10)}).settled = false;
  EXPECT_THAT(dead(), IsEmpty());
  state.fibers[0].settled = true;
  EXPECT_THAT(dead(), ElementsAre(1));
  EXPECT_EQ(verdict.causes.at(0).kind, DeadlockKind::self);
  state.fibers[0].info.deadline_ns = 1;
  EXPECT_THAT(dead(), IsEmpty());
}

TEST_F(Solve, AReaderWaitsForTheWriterInFrontAndAWriterForAllReaders) {
  object(10, FIBERPROF_OBJECT_RWLOCK).count = 2;
  mutex(20, 2);
  fiber(1, {{FIBERPROF_REASON_RWLOCK_WRITE, 10}});
  fiber(2, {{FIBERPROF_REASON_RWLOCK_READ, 10}}).info.shared[0] = 10;  // again, behind the writer
  FiberState& reader = fiber(3, {});
  reader.info.state = FIBERPROF_FIBER_RUNNING;
  reader.info.shared[0] = 10;
  EXPECT_THAT(dead(), ElementsAre(1, 2)) << "that one reader runs does not help";
  EXPECT_EQ(verdict.causes.at(0).kind, DeadlockKind::cycle);
}

TEST_F(Solve, AReaderBehindAWriterThatWaitsForARunningReaderLives) {
  object(10, FIBERPROF_OBJECT_RWLOCK).count = 1;
  fiber(1, {{FIBERPROF_REASON_RWLOCK_WRITE, 10}});
  fiber(2, {{FIBERPROF_REASON_RWLOCK_READ, 10}});
  FiberState& reader = fiber(3, {});
  reader.info.state = FIBERPROF_FIBER_RUNNING;
  reader.info.shared[0] = 10;
  EXPECT_THAT(dead(), IsEmpty());
}

TEST_F(Solve, ReadLocksThatWereLostCountOnlyWhereThatIsKnown) {
  object(10, FIBERPROF_OBJECT_RWLOCK).count = 1;
  fiber(1, {{FIBERPROF_REASON_RWLOCK_WRITE, 10}});
  state.objects[10].orphaned = 1;
  EXPECT_THAT(dead(), IsEmpty());
  state.objects[10].readers_settled = true;
  EXPECT_THAT(dead(), ElementsAre(1));
  EXPECT_EQ(verdict.causes.at(0).kind, DeadlockKind::orphan);
}

TEST_F(Solve, AChannelWithoutTheOtherEndIsDead) {
  channel(10, 0, 1);
  channel(20, 1, 0);
  channel(30, 0, 1).closed = true;
  channel(40, 0, 1).length = 1;
  channel(50, 0, 1).timers = 1;
  channel(60);
  fiber(1, {receive(10)});
  fiber(2, {send(20)});
  fiber(3, {receive(30)});
  fiber(4, {receive(40)});
  fiber(5, {receive(50)});
  fiber(6, {receive(60)});
  fiber(7, {receive(10), receive(60)});
  fiber(8, {receive(10), send(20)});
  fiber(9, {{FIBERPROF_REASON_NIL_CHANNEL, 0}});
  EXPECT_THAT(dead(), ElementsAre(1, 2, 8, 9));
  EXPECT_EQ(verdict.causes.at(0).kind, DeadlockKind::leak);
}

TEST_F(Solve, AContextEndsByADeadlineOrASourceOfItsOwnOrAbove) {
  object(10, FIBERPROF_OBJECT_CONTEXT).deadline_ns = INT64_MAX;
  object(20, FIBERPROF_OBJECT_CONTEXT).deadline_ns = INT64_MAX;
  state.objects[20].seen[0]->parent = 10;
  fiber(1, {{FIBERPROF_REASON_CONTEXT, 20}});
  EXPECT_THAT(dead(), ElementsAre(1));
  state.objects[10].seen = {};
  object(10, FIBERPROF_OBJECT_CONTEXT).deadline_ns = INT64_MAX;
  state.objects[10].seen[0]->sources = 1;
  EXPECT_THAT(dead(), IsEmpty());
  state.objects[10].seen[0]->sources = 0;
  state.objects[10].seen[1] = state.objects[10].seen[0];
  state.objects[20].seen[0]->deadline_ns = 5;
  EXPECT_THAT(dead(), IsEmpty());
}

TEST_F(Solve, AContextThatLoopsIsTakenToLive) {
  object(10, FIBERPROF_OBJECT_CONTEXT).deadline_ns = INT64_MAX;
  state.objects[10].seen[0]->parent = 10;
  fiber(1, {{FIBERPROF_REASON_CONTEXT, 10}});
  EXPECT_THAT(dead(), IsEmpty());
}

TEST_F(Solve, WhatTheLivingReachSpreads) {
  channel(10);
  channel(20);
  channel(30);
  FakeEvidence evidence;
  evidence.if_lives(9, 10, Right::send);
  evidence.if_lives(1, 20, Right::receive);
  evidence.if_lives(2, 30, Right::receive);  // the wrong right
  fiber(1, {receive(10)});
  fiber(2, {send(20)});
  fiber(3, {receive(30)});
  EXPECT_THAT(dead_with(evidence), ElementsAre(1, 2, 3)) << "nobody lives";
  runs(9);
  EXPECT_THAT(dead_with(evidence), ElementsAre(3));
}

TEST_F(Solve, AnOwnerThatLivesMustReachTheLock) {
  mutex(10, 2);
  fiber(1, {lock(10)});
  runs(2);
  FakeEvidence evidence;
  EXPECT_THAT(dead_with(evidence), ElementsAre(1));
  evidence.if_lives(2, 10, Right::touch);
  EXPECT_THAT(dead_with(evidence), IsEmpty());
}

TEST_F(Solve, EveryTokenOfAWaitGroupMustBeInReach) {
  ObjectInfo& group = object(10, FIBERPROF_OBJECT_WAIT_GROUP);
  group.count = group.tokens = 2;
  fiber(1, {{FIBERPROF_REASON_WAIT_GROUP, 10}});
  runs(2);
  FakeEvidence one, two;
  one.token_of(2, 10);
  one.always(10, Right::touch);
  EXPECT_THAT(dead_with(one), ElementsAre(1));
  two.token_of(2, 10);
  two.token_of(2, 10);
  EXPECT_THAT(dead_with(two), IsEmpty());
}

TEST_F(Solve, AGroupWithoutTokensIsDoneByWhoeverReachesIt) {
  object(10, FIBERPROF_OBJECT_WAIT_GROUP).count = 2;
  fiber(1, {{FIBERPROF_REASON_WAIT_GROUP, 10}});
  FakeEvidence evidence;
  EXPECT_THAT(dead_with(evidence), ElementsAre(1));
  evidence.always(10, Right::touch);
  EXPECT_THAT(dead_with(evidence), IsEmpty());
  EXPECT_THAT(dead(), IsEmpty()) << "by identity alone nothing is known of it";
}

TEST_F(Solve, ALongChainIsOneCause) {
  constexpr uint64_t kLength = 100'000;
  for (uint64_t id = 1; id <= kLength; ++id) fiber(id, {{FIBERPROF_REASON_JOIN, id % kLength + 1}});
  EXPECT_EQ(dead().size(), kLength);
  ASSERT_EQ(verdict.causes.size(), 1u);
  EXPECT_EQ(verdict.causes[0].fibers.size(), kLength);
  EXPECT_EQ(verdict.causes[0].fibers[1], verdict.causes[0].fibers[0] + 1) << "each waits for the next";
}

TEST_F(Solve, WhenACycleClosedIsWhenTheLastParked) {
  mutex(10, 2);
  mutex(20, 1);
  fiber(1, {lock(10)}).info.since_ns = 700;
  fiber(2, {lock(20)}).info.since_ns = 500;
  EXPECT_THAT(dead(), ElementsAre(1, 2));
  EXPECT_EQ(verdict.causes.at(0).closed_ns, 700u);
  EXPECT_EQ(verdict.causes.at(0).last_moved_ns, 500u);
}

}  // namespace
}  // namespace fiberprof
