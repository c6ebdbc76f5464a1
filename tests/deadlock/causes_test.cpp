// SPDX-License-Identifier: BSD-2-Clause
// How a verdict is told: by cycles through locks and through what only one of the dead could do.
#include <fiberprof/registry.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "deadlock/states.h"
#include "process/child.h"
#include "support/command.h"

namespace fiberprof {
namespace {

using test::lock;
using test::receive;
using test::send;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class NothingInReach final : public Evidence {
 public:
  bool has(Right, uint64_t) const override { return false; }
  int64_t tokens(uint64_t, int64_t) const override { return 0; }
  void revive(const FiberState&, std::vector<uint64_t>&) override {}
};

class Causes : public test::Solve {
 protected:
  NothingInReach nothing;
};

TEST_F(Causes, ALockAndAMessageMakeACycle) {
  mutex(10, 1);
  channel(20);
  fiber(1, {receive(20)});
  fiber(2, {lock(10)});
  fiber(3, {lock(10)});
  dead_with(nothing, {{{20, Right::send}, {1}}});
  ASSERT_EQ(verdict.causes.size(), 1u);
  EXPECT_EQ(verdict.causes[0].kind, DeadlockKind::cycle);
  EXPECT_THAT(verdict.causes[0].fibers, ElementsAre(0, 1));
  EXPECT_THAT(verdict.causes[0].behind, ElementsAre(2));
}

TEST_F(Causes, WhatIsHeldOfTheWrongKindDoesNotHelp) {
  channel(20);
  fiber(1, {receive(20)});
  fiber(2, {{FIBERPROF_REASON_JOIN, 1}});
  dead_with(nothing, {{{20, Right::receive}, {1}}});
  ASSERT_EQ(verdict.causes.size(), 1u);
  EXPECT_EQ(verdict.causes[0].kind, DeadlockKind::leak);
  EXPECT_THAT(verdict.causes[0].fibers, ElementsAre(0));
  EXPECT_THAT(verdict.causes[0].behind, ElementsAre(1));
}

TEST_F(Causes, OneThatHasWhatItWaitsForIsItsOwnCauseUnlessAnotherHasItToo) {
  channel(20);
  fiber(1, {receive(20)});
  dead_with(nothing, {{{20, Right::send}, {0}}});
  EXPECT_EQ(verdict.causes.at(0).kind, DeadlockKind::self);
  fiber(2, {{FIBERPROF_REASON_NIL_CHANNEL, 0}});
  dead_with(nothing, {{{20, Right::send}, {0, 1}}});
  ASSERT_EQ(verdict.causes.size(), 1u);
  EXPECT_EQ(verdict.causes[0].kind, DeadlockKind::leak);
  EXPECT_THAT(verdict.causes[0].fibers, ElementsAre(1));
  EXPECT_THAT(verdict.causes[0].behind, ElementsAre(0));
}

TEST_F(Causes, TwoThatWaitForOneThingThatBothHaveAreACycle) {
  channel(20);
  fiber(1, {receive(20)});
  fiber(2, {receive(20)});
  dead_with(nothing, {{{20, Right::send}, {0, 1}}});
  ASSERT_EQ(verdict.causes.size(), 1u);
  EXPECT_EQ(verdict.causes[0].kind, DeadlockKind::cycle);
  EXPECT_THAT(verdict.causes[0].fibers, ElementsAre(0, 1));
}

TEST_F(Causes, OfManyWaysRoundTheOneWithoutDoubtIsShown) {
  mutex(10, 3);
  channel(20);
  channel(30);
  fiber(1, {receive(20)});
  fiber(2, {receive(30)});
  fiber(3, {receive(30)});
  fiber(4, {lock(10)});
  dead_with(nothing, {{{20, Right::send}, {0, 1, 2, 3}}, {{30, Right::send}, {0, 3}}});
  ASSERT_EQ(verdict.causes.size(), 1u);
  EXPECT_THAT(verdict.causes[0].fibers, ElementsAre(2, 3)) << "the lock has one owner";
  EXPECT_THAT(verdict.causes[0].behind, ElementsAre(0, 1));
}

TEST_F(Causes, AWaitGroupLeadsToWhoHasItsTokensAndAContextToWhoMayCancel) {
  ObjectInfo& group = object(10, FIBERPROF_OBJECT_WAIT_GROUP);
  group.count = group.tokens = 1;
  ObjectInfo& outer = object(20, FIBERPROF_OBJECT_CONTEXT);
  outer.deadline_ns = INT64_MAX;
  outer.sources = 1;
  ObjectInfo& inner = object(21, FIBERPROF_OBJECT_CONTEXT);
  inner.deadline_ns = INT64_MAX;
  inner.parent = 20;
  fiber(1, {{FIBERPROF_REASON_WAIT_GROUP, 10}});
  fiber(2, {{FIBERPROF_REASON_CONTEXT, 21}});
  dead_with(nothing, {{{10, Right::token}, {1}}, {{20, Right::cancel}, {0}}});
  ASSERT_EQ(verdict.causes.size(), 1u);
  EXPECT_EQ(verdict.causes[0].kind, DeadlockKind::cycle);
  EXPECT_THAT(verdict.causes[0].fibers, ElementsAre(0, 1));
}

TEST_F(Causes, ALostReadLockIsTheCauseWhateverOtherReadersDo) {
  object(10, FIBERPROF_OBJECT_RWLOCK).count = 2;
  state.objects[10].orphaned = 1;
  state.objects[10].readers_settled = true;
  fiber(1, {{FIBERPROF_REASON_RWLOCK_WRITE, 10}});
  fiber(2, {{FIBERPROF_REASON_JOIN, 1}}).info.shared[0] = 10;
  dead();
  EXPECT_EQ(verdict.causes.at(0).kind, DeadlockKind::orphan);
  EXPECT_THAT(verdict.causes.at(0).behind, ElementsAre(1));
}

TEST_F(Causes, ManyThatShareEverythingAreOneCauseInTimeLinearInThat) {
  constexpr size_t kFibers = 20'000;
  Holdings holdings;
  for (size_t i = 0; i < kFibers; ++i) {
    channel(1000 + i);
    fiber(i + 1, {receive(1000 + i)});
    for (size_t holder = i; holder < std::min(kFibers, i + 50); ++holder)
      holdings[{1000 + i, Right::send}].push_back(holder);
  }
  holdings[{1000 + kFibers - 1, Right::send}] = {0};
  dead_with(nothing, std::move(holdings));
  ASSERT_EQ(verdict.causes.size(), 1u);
  EXPECT_EQ(verdict.causes[0].kind, DeadlockKind::cycle);
  EXPECT_EQ(verdict.causes[0].fibers.size() + verdict.causes[0].behind.size(), kFibers);
}

// The same of real programs.
class CausesOf : public testing::Test {
 protected:
  const std::string kFiberprof = FIBERPROF_BUILD_DIR "/bin/fiberprof";
  void look(const std::string& kernel) {
    json = nullptr;
    // A stale word in the program's memory hides a proof, by chance: what is told of one is tested here.
    for (int start = 0; start < 5 && (!json.is_object() || json["dead"].empty()); ++start) {
      child.reset();  // the next one would inherit what it waits for
      child =
          std::make_unique<test::Child>(std::vector<std::string>{FIBERPROF_PLAIN_DIR "/tests/programs/goker", kernel});
      ASSERT_EQ(child->line, "ready");
      json = nlohmann::json::parse(deadlock("--json 2>/dev/null"), nullptr, false);
    }
    ASSERT_TRUE(json.is_object());
    ASSERT_EQ(json["causes"].size(), 1u) << json.dump(2);
    cause = json["causes"][0];
    EXPECT_EQ(cause["grade"], kernel == "leak_crowd" ? "certain" : "proved");
    text = deadlock("");
  }
  std::string deadlock(const std::string& options) {
    return run_command(kFiberprof + " deadlock " + std::to_string(child->pid()) + " --prove " + options).output;
  }
  std::vector<std::string> names(const char* part) {
    std::vector<std::string> all;
    for (const auto& fiber : cause[part]) all.push_back(fiber["name"]);
    return all;
  }
  nlohmann::json fiber(const std::string& name) {
    for (const char* part : {"fibers", "behind"})
      for (const auto& one : cause[part])
        if (one["name"] == name) return one;
    ADD_FAILURE() << "no fiber " << name;
    return {};
  }
  // The names of those who could end the fiber's first way of waiting.
  std::set<std::string> enablers(const std::string& of) {
    std::set<std::string> all;
    const nlohmann::json ids = fiber(of)["waits"][0]["enablers"];
    for (const auto& id : ids)
      for (const char* part : {"fibers", "behind"})
        for (const auto& one : cause[part])
          if (one["id"] == id) all.insert(one["name"]);
    return all;
  }
  std::unique_ptr<test::Child> child;
  nlohmann::json json, cause;
  std::string text;
};

TEST_F(CausesOf, ALockAndAMessage) {
  look("lock_and_message");
  EXPECT_EQ(cause["kind"], "cycle");
  EXPECT_THAT(names("fibers"), UnorderedElementsAre("A", "B"));
  EXPECT_THAT(enablers("A"), UnorderedElementsAre("B"));
  EXPECT_THAT(enablers("B"), UnorderedElementsAre("A"));
  EXPECT_THAT(fiber("A")["holds"], ElementsAre(AllOf(HasSubstr("holds mutex"), HasSubstr("\"B\" waits"))));
  EXPECT_THAT(fiber("B")["holds"],
              ElementsAre(AllOf(HasSubstr("holds the only send right of channel"), HasSubstr("\"A\" waits"))));
  EXPECT_THAT(text, AllOf(HasSubstr("proved: 2 fibers wait for each other in a cycle"), HasSubstr("\"B\" could send"),
                          HasSubstr("made at goker::lock_and_message more_mixed.cpp:")));
}

TEST_F(CausesOf, ALockAndAMessageWithOthersBehindThem) {
  look("lock_message_crowd");
  EXPECT_EQ(cause["kind"], "cycle");
  EXPECT_THAT(names("fibers"), UnorderedElementsAre("A", "B"));
  EXPECT_THAT(names("behind"), UnorderedElementsAre("C", "D", "E"));
  EXPECT_THAT(text, HasSubstr("3 more are blocked behind them"));
}

TEST_F(CausesOf, TwoChannelsCrosswise) {
  for (const char* kernel : {"cross_receive", "cross_send"}) {
    look(kernel);
    EXPECT_EQ(cause["kind"], "cycle") << kernel;
    EXPECT_THAT(names("fibers"), UnorderedElementsAre("A", "B")) << kernel;
    EXPECT_THAT(enablers("A"), UnorderedElementsAre("B")) << kernel;
    EXPECT_THAT(enablers("B"), UnorderedElementsAre("A")) << kernel;
  }
}

TEST_F(CausesOf, AGroupAndAMessage) {
  look("group_and_message");
  EXPECT_EQ(cause["kind"], "cycle");
  EXPECT_THAT(names("fibers"), UnorderedElementsAre("A", "B"));
  EXPECT_THAT(text, AllOf(HasSubstr("holds a token of wait group"), HasSubstr("\"B\" could do that")));
}

TEST_F(CausesOf, ALeakWithOthersBehindIt) {
  look("leak_crowd");
  EXPECT_EQ(cause["kind"], "leak");
  EXPECT_THAT(names("fibers"), ElementsAre("A"));
  EXPECT_THAT(names("behind"), UnorderedElementsAre("B", "C", "D"));
  EXPECT_THAT(enablers("A"), IsEmpty());
  EXPECT_THAT(text, AllOf(HasSubstr("certain: nobody is left who could end a wait"), HasSubstr("; no sender is left"),
                          HasSubstr("3 more are blocked behind it")));
}

TEST_F(CausesOf, ARightThatAnotherFiberUsesByReference) {
  look("by_reference");
  EXPECT_EQ(cause["kind"], "cycle");
  EXPECT_THAT(names("fibers"), UnorderedElementsAre("B", "C"));
  EXPECT_THAT(names("behind"), ElementsAre("A"));
  EXPECT_THAT(enablers("C"), UnorderedElementsAre("A", "B"));
}

// The mixed bugs of the catalogue, each one cycle, whoever else is behind it.
TEST_F(CausesOf, MixedBugsAreCycles) {
  for (const char* kernel : {"cockroach_1055", "etcd_6873", "etcd_7443", "etcd_7492", "grpc_1460", "istio_16224",
                             "kubernetes_10182", "kubernetes_1321", "kubernetes_26980", "moby_28462", "moby_30408"}) {
    SCOPED_TRACE(kernel);
    look(kernel);
    EXPECT_EQ(cause["kind"], "cycle");
    EXPECT_GE(cause["fibers"].size(), 2u);
    // In the order of the cycle: each could be helped by the next.
    for (size_t i = 0; i < cause["fibers"].size(); ++i) {
      const auto& next = cause["fibers"][(i + 1) % cause["fibers"].size()];
      bool waits_for_next = false;
      for (const auto& wait : cause["fibers"][i]["waits"])
        for (const auto& id : wait["enablers"]) waits_for_next |= id == next["id"];
      EXPECT_TRUE(waits_for_next) << cause["fibers"][i].dump(2);
      EXPECT_FALSE(cause["fibers"][i]["stack"].empty());
    }
  }
}

TEST_F(CausesOf, ThePictureLeadsFromWhoWaitsThroughAnObjectToWhoHoldsIt) {
  look("lock_and_message");
  const std::string path = testing::TempDir() + "causes.dot";
  deadlock("--dot " + path);
  const std::string dot = run_command("cat " + path).output;
  const auto id = [&](const char* name) { return std::to_string(fiber(name)["id"].get<uint64_t>()); };
  const std::string channel = "o" + fiber("A")["waits"][0]["object"].get<std::string>();
  const std::string mutex = "o" + fiber("B")["waits"][0]["object"].get<std::string>();
  EXPECT_THAT(dot, AllOf(HasSubstr(id("A") + " -> " + channel), HasSubstr(channel + " -> " + id("B")),
                         HasSubstr(id("B") + " -> " + mutex), HasSubstr(mutex + " -> " + id("A"))));
}

}  // namespace
}  // namespace fiberprof
