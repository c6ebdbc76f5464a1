// SPDX-License-Identifier: BSD-2-Clause
// Chains of wake-ups in pictures, reports and recordings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "profile/pprof_format.h"
#include "render/flame_svg.h"
#include "render/flame_tree.h"
#include "render/report.h"
#include "render/sample_profile.h"
#include "render/stack_view.h"
#include "render/waker_view.h"

namespace fiberprof {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// Connections wait for the log writer, which waits for a timer (1/5) or is held by the disk (4/5).
Profile woken_profile() {
  Profile profile = sample_profile();
  const auto frame = [&](ProfileFrame each) {
    profile.frames.push_back(std::move(each));
    return static_cast<uint32_t>(profile.frames.size() - 1);
  };
  const uint32_t send = frame(runtime_frame("fiber::Channel<kvd::Entry>::send()", 0x401500));
  const uint32_t group = frame(user_frame("kvd::Log::write_group()", "/src/kvd/log.cpp", 60, 0x402500));
  const uint32_t sleep = frame(runtime_frame("fiber::sleep_for(long)", 0x401600));
  const uint32_t fire = frame(runtime_frame("fiber::detail::TimerHeap::fire(unsigned long)", 0x401700));
  const Cause woken{CauseKind::woken, "", {send, 3, 4}};
  profile.chains = {
      {woken, {CauseKind::held, "disk: fdatasync", {group, 3, 4}}},
      {woken, {CauseKind::waited, "sleep", {sleep, group, 3, 4}}, {CauseKind::woken, "timer", {fire}}},
  };
  Sample& channel = profile.samples[0];
  Sample other = channel;
  channel.chain = 1;
  channel.count = 4000;
  channel.total_ns = 40'000'000'000;
  other.chain = 2;
  other.count = 1000;
  other.total_ns = 10'000'000'000;
  profile.samples.push_back(other);
  return profile;
}

std::vector<std::string> path_to(const FlameTree& tree, const std::string& name) {
  std::vector<std::string> path;
  for (const FlameNode& node : tree.nodes) {
    path.resize(node.depth);
    path.push_back(node.name);
    if (node.name == name) return path;
  }
  return {};
}

TEST(Wakers, ThePictureGoesOnAboveTheWaitToItsCause) {
  FlameOptions options;
  options.wakers = true;
  const FlameTree tree = flame_tree(woken_profile(), options);
  const std::string send = "fiber::Channel<kvd::Entry>::send()", run = "kvd::Log::run()";
  EXPECT_THAT(
      path_to(tree, "[disk: fdatasync]"),
      ElementsAre("all", run, "kvd::Log::next(int)", "fiber::Channel<kvd::Entry>::receive()", "[chan receive]",
                  "woken by", send, run, "which the kernel held", run, "kvd::Log::write_group()", "[disk: fdatasync]"));
  EXPECT_EQ(path_to(tree, "woken by a timer").back(), "woken by a timer");
  for (const FlameNode& node : tree.nodes) {
    if (node.name == "[disk: fdatasync]") {
      EXPECT_EQ(node.role, FlameRole::reason);
      EXPECT_EQ(node.reason, "disk: fdatasync");
      EXPECT_EQ(node.total_ns, 40'000'000'000U);
    }
    if (node.name == send) {
      EXPECT_EQ(node.role, FlameRole::waker);
      EXPECT_EQ(node.total_ns, 50'000'000'000U);
    }
    if (node.name == "woken by") {
      EXPECT_EQ(node.role, FlameRole::separator);
    }
    EXPECT_NE(node.name, "fiber::detail::TimerHeap::fire(unsigned long)")
        << "how a timer goes off is nobody's business";
  }
  // Its reasons first, then what is only a cause.
  std::vector<std::string> reasons;
  for (const auto& [reason, total] : tree.reasons) reasons.push_back(reason);
  EXPECT_THAT(reasons, ElementsAre("chan receive", "mutex", "io read", "disk: fdatasync", "sleep"));
  EXPECT_THAT(flame_svg(woken_profile(), tree, options.kind, {}), HasSubstr("class=\"f sep\""));
  EXPECT_THAT(folded_stacks(woken_profile(), options),
              HasSubstr("[chan receive];woken by;" + send + ";" + run + ";which waited;"));
}

TEST(Wakers, WithoutTheFlagThePictureIsAsBefore) {
  EXPECT_EQ(folded_stacks(woken_profile(), {}), folded_stacks(sample_profile(), {}));
  EXPECT_THAT(flame_svg(woken_profile(), flame_tree(woken_profile(), {}), FlameKind::blocked, {}),
              Not(HasSubstr("class=\"f sep\"")));
}

TEST(Wakers, TheReportGroupsByWhoEndedTheWaitsAndSaysWhyNotEarlier) {
  ReportOptions options;
  options.by = GroupBy::waker;
  const std::string text = report_text(woken_profile(), options, Style(false), 120);
  EXPECT_THAT(text, HasSubstr("ended by"));
  EXPECT_THAT(text, HasSubstr("kvd::Log::run  chan receive"));
  EXPECT_THAT(text, HasSubstr("80.0%  which the kernel held: disk: fdatasync in kvd::Log::write_group"));
  EXPECT_THAT(text, HasSubstr("20.0%  which waited for sleep in kvd::Log::write_group, woken by a timer"));
  EXPECT_THAT(text, HasSubstr("(not ended)  io read"));
  const auto json = nlohmann::json::parse(report_json(woken_profile(), options));
  const auto& row = json["blocked"]["rows"][0];
  EXPECT_EQ(row["waker"], "kvd::Log::run()");
  EXPECT_EQ(row["causes"][0]["total_ns"], 40'000'000'000U);
  EXPECT_EQ(row["causes"][0]["steps"][1]["kind"], "held");
  EXPECT_EQ(row["causes"][1]["steps"][2]["text"], "timer");
}

TEST(Wakers, ARecordingKeepsThemAndOtherToolsSeeTheWaitsOnly) {
  const Profile profile = woken_profile();
  const auto read = pprof::decode(pprof::encode(profile));
  ASSERT_TRUE(read) << read.error().message();
  ASSERT_EQ(read->samples.size(), profile.samples.size());
  ASSERT_EQ(read->chains.size(), 2u);
  for (size_t i = 0; i < profile.samples.size(); ++i) {
    EXPECT_EQ(read->samples[i].chain, profile.samples[i].chain);
    EXPECT_EQ(percentile(read->samples[i].histogram, 0.5, UINT64_MAX),
              percentile(profile.samples[i].histogram, 0.5, UINT64_MAX))
        << "histograms go by sample: chains do not count";
  }
  for (size_t i = 0; i < 2; ++i) {
    ASSERT_EQ(read->chains[i].size(), profile.chains[i].size());
    for (size_t step = 0; step < profile.chains[i].size(); ++step) {
      const Cause &expected = profile.chains[i][step], &found = read->chains[i][step];
      EXPECT_EQ(found.kind, expected.kind);
      EXPECT_EQ(found.text, expected.text);
      ASSERT_EQ(found.frames.size(), expected.frames.size());
      for (size_t f = 0; f < expected.frames.size(); ++f)
        EXPECT_EQ(read->frames[found.frames[f]], profile.frames[expected.frames[f]]);
    }
  }
}

TEST(Wakers, ADamagedChainIsShortNeverWrong) {
  Profile profile = woken_profile();
  profile.samples[0].chain = 77;
  const auto read = pprof::decode(pprof::encode(profile));
  ASSERT_TRUE(read);
  EXPECT_EQ(read->samples[0].chain, 0u);
  EXPECT_EQ(waker_name(*read, read->samples[0]), "(not known)");
}

}  // namespace
}  // namespace fiberprof
