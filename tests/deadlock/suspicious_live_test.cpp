// SPDX-License-Identifier: BSD-2-Clause
// fiberprof deadlock --suspicious as a user runs it, on a program that has one of everything and on its healthy twin.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <time.h>
#include <algorithm>
#include <string>
#include <vector>

#include "integration/tool.h"
#include "process/child.h"
#include "process/core_of.h"

namespace fiberprof::test {
namespace {

using nlohmann::json;

// With AddressSanitizer what a fiber holds need not be on its stack.
const std::string kSuspicious = FIBERPROF_PLAIN_DIR "/tests/programs/suspicious";

class Suspicious : public testing::Test {
 protected:
  explicit Suspicious(const char* how) : target_({kSuspicious, how, "1500"}) {}

  std::string command(const std::string& options) const {
    return "deadlock " + std::to_string(target_.pid()) + " " + options;
  }
  // Findings of one kind, or all for an empty one, where waits of a second are old.
  std::vector<json> found(const std::string& options, const std::string& kind) const {
    const CommandResult result = tool(command(options + " --suspicious --older 1s --json"));
    EXPECT_EQ(result.status, 0) << result.output;
    const json all = json::parse(result.output, nullptr, false);
    EXPECT_FALSE(all.is_discarded()) << result.output;
    std::vector<json> of_kind;
    for (const json& one : all["suspicious"]["found"])
      if (kind.empty() || one["kind"] == kind) of_kind.push_back(one);
    return of_kind;
  }

  Child target_;
};

class SuspiciousBad : public Suspicious {
 protected:
  SuspiciousBad() : Suspicious("bad") {}
};
class SuspiciousGood : public Suspicious {
 protected:
  SuspiciousGood() : Suspicious("good") {}
};

TEST_F(SuspiciousBad, OldWaits) {
  const auto groups = found("", "old wait");
  ASSERT_FALSE(groups.empty());
  EXPECT_EQ(groups[0]["count"], 30);
  EXPECT_EQ(groups[0]["reason"], "chan receive");
  EXPECT_GE(groups[0]["oldest_ns"], 1'000'000'000);
  EXPECT_TRUE(stack_has(groups[0], "app::wait_for_reply")) << groups[0];
  EXPECT_EQ(groups[0]["examples"].size(), 3u);
  EXPECT_EQ(groups[0]["examples"][0]["name"], "asker");
}

TEST_F(SuspiciousBad, ACancelledContextThatIsNotHeeded) {
  const auto groups = found("", "ignores cancel");
  ASSERT_EQ(groups.size(), 1u) << json(groups);
  EXPECT_EQ(groups[0]["count"], 3);
  EXPECT_TRUE(stack_has(groups[0], "app::ignore_cancel")) << groups[0];
  EXPECT_EQ(groups[0]["examples"][0]["name"], "deaf");
}

TEST_F(SuspiciousBad, FibersThatOutliveTheirParent) {
  const auto sites = found("", "outlives parent");
  ASSERT_EQ(sites.size(), 1u) << json(sites);
  EXPECT_EQ(sites[0]["count"], 5);
  EXPECT_EQ(sites[0]["spawned_at"]["function"], "app::spawn_children(int)");
}

TEST_F(SuspiciousBad, GrowthTakesSeveralLooks) {
  EXPECT_TRUE(found("", "grows").empty());
  const auto sites = found("-d 4s", "grows");
  ASSERT_EQ(sites.size(), 1u) << json(sites);
  EXPECT_EQ(sites[0]["seen"].size(), 5u);
  EXPECT_NE(sites[0]["spawned_at"]["function"].get<std::string>().find("app::keep_spawning"), std::string::npos);
}

TEST_F(SuspiciousBad, DeadlinesThatPileUp) {
  const auto stacks = found("-d 4s", "deadlines pile up");
  ASSERT_EQ(stacks.size(), 1u) << json(stacks);
  EXPECT_TRUE(stack_has(stacks[0], "app::wait_with_deadline")) << stacks[0];
}

class SuspiciousSpin : public Suspicious {
 protected:
  SuspiciousSpin() : Suspicious("spin") {}
};
class SuspiciousPoll : public Suspicious {
 protected:
  SuspiciousPoll() : Suspicious("poll") {}
};

TEST_F(SuspiciousSpin, PollsThatNeverMoveAnything) {
  const auto places = found("", "spins");
  ASSERT_EQ(places.size(), 2u) << json(places);
  for (const json& place : places) {
    EXPECT_EQ(place["count"], 1);
    EXPECT_GT(place["polls"], 0);
    EXPECT_GT(place["polls_in_ns"], 0);
    EXPECT_GE(place["oldest_ns"], 1'000'000'000);
    EXPECT_TRUE(
        stack_has(place, place["examples"][0]["name"] == "spinner" ? "app::spin_on_select" : "app::spin_and_yield"))
        << place;
  }
  EXPECT_NE(places[0]["examples"][0]["name"], places[1]["examples"][0]["name"]);
  const CommandResult text = tool(command("--suspicious --older 1s"));
  EXPECT_EQ(text.status, 0);
  EXPECT_NE(text.output.find("1 fiber spins: "), std::string::npos) << text.output;
  EXPECT_NE(tool(command("--suspicious --older 1h")).output.find("no proof\n  nothing\n"), std::string::npos);
}

// Its other half: fibers that poll as often and work.
TEST_F(SuspiciousPoll, IsNotSuspected) {
  const auto all = found("", "");
  EXPECT_TRUE(all.empty()) << json(all);
}

TEST_F(SuspiciousBad, IsNoVerdict) {
  const CommandResult without = tool(command("--prove"));
  EXPECT_EQ(without.status, 0);
  EXPECT_EQ(without.output.find("suspicious,"), std::string::npos) << without.output;
  EXPECT_EQ(tool(command("--json")).output.find("\"suspicious\""), std::string::npos);
  const CommandResult with = tool(command("--suspicious --older 1s"));
  EXPECT_EQ(with.status, 0);
  const size_t heading = with.output.find("\nsuspicious, by age and count: no proof\n");
  EXPECT_NE(heading, std::string::npos) << with.output;
  EXPECT_LT(with.output.find("no deadlock among"), heading);
  EXPECT_NE(tool(command("--suspicious")).output.find("no proof\n  nothing\n"), std::string::npos)
      << "no wait is a minute old";
}

TEST(SuspiciousCore, IsLikeALiveProcess) {
  if (const std::string why = no_core_files(); !why.empty()) GTEST_SKIP() << why;
  Dumpable target({kSuspicious, "bad", "1000000000"});
  ASSERT_TRUE(target.wait_for([](const std::vector<FiberInfo>& fibers) {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    const uint64_t now_ns = static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
    return std::ranges::any_of(fibers, [&](const FiberInfo& fiber) {
      return fiber.name == "deaf" && fiber.state == FIBERPROF_FIBER_PARKED && now_ns > fiber.since_ns + 2'000'000'000;
    });
  }));
  const std::string core = target.abort();
  ASSERT_FALSE(core.empty());
  const CommandResult result = tool("deadlock --core " + core + " --suspicious --older 1s");
  EXPECT_EQ(result.status, 0) << result.output;
  for (const char* const expected : {"30 fibers wait (chan receive)", "3 fibers wait (chan receive) without heeding",
                                     "app::ignore_cancel", "the fiber that spawned them has ended"})
    EXPECT_NE(result.output.find(expected), std::string::npos) << expected << " not in\n" << result.output;
}

TEST_F(SuspiciousBad, WatchSaysEachOnce) {
  const CommandResult result = tool(command("--suspicious --older 1s --watch -i 500ms -d 4s"));
  EXPECT_EQ(result.status, 0);
  for (const char* const once : {"without heeding a cancelled context", "has ended", "30 fibers wait (chan receive)",
                                 "more fibers of one spawn site", "more waits with a deadline"}) {
    const size_t first = result.output.find(once);
    ASSERT_NE(first, std::string::npos) << once << " not in\n" << result.output;
    EXPECT_EQ(result.output.find(once, first + 1), std::string::npos) << once << " twice in\n" << result.output;
  }
}

// Its other half: the same waits with a reason that excuses them.
TEST_F(SuspiciousGood, IsNotSuspected) {
  const auto all = found("-d 4s", "");
  EXPECT_TRUE(all.empty()) << json(all);
}

}  // namespace
}  // namespace fiberprof::test
