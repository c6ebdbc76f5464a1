// SPDX-License-Identifier: BSD-2-Clause
#include "render/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "render/sample_profile.h"
#include "render/stack_view.h"
#include "support/text.h"

namespace fiberprof {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

std::vector<std::string> lines(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> result;
  for (std::string line; std::getline(stream, line);) result.push_back(line);
  return result;
}

std::string text(const Profile& profile, GroupBy by = GroupBy::stack, bool all_frames = false) {
  return report_text(profile, {by, 10, all_frames}, Style(false), 80);
}

TEST(StackView, CulpritIsTheProgramsFunctionNextToTheWait) {
  const auto of = [](const std::string& frames) {  // 'l' library, 'p' the program's; innermost first
    return culprit(frames.size(), [&](size_t i) { return frames[i] == 'l'; });
  };
  EXPECT_EQ(of("llpp"), 2U);
  EXPECT_EQ(of("pp"), 0U);
  EXPECT_EQ(of("lplp"), 1U);
  EXPECT_EQ(of("ll"), 0U);
  EXPECT_EQ(of(""), 0U);
}

TEST(StackView, LibrariesAreToldFromThePrograms) {
  EXPECT_TRUE(is_library("fiber::Mutex::lock()", "/usr/bin/kvd", true));
  EXPECT_TRUE(is_library("std::unique_lock<fiber::Mutex>::lock()", "/usr/bin/kvd", false));
  EXPECT_TRUE(is_library("__libc_recv", "/usr/lib/x86_64-linux-gnu/libc.so.6", false));
  EXPECT_TRUE(is_library("[uprobes-trampoline]+0xd", "[uprobes-trampoline]", false));
  EXPECT_TRUE(is_library("f", "libm.so.6", false));
  EXPECT_FALSE(is_library("kvd::serve(std::string)", "/usr/bin/kvd", false));
  EXPECT_FALSE(is_library("handle", "/usr/lib/libcart.so", false));
  EXPECT_FALSE(is_library("", "", false));
}

TEST(StackView, PercentilesLieInTheirBucketAndBelowTheMaximum) {
  std::vector<uint64_t> histogram(44);
  EXPECT_EQ(percentile(histogram, 0.5, 100), 0U);
  histogram[10] = 99;  // 1024 to 2047
  histogram[20] = 1;
  EXPECT_GE(percentile(histogram, 0.5, 1'500'000), 1024U);
  EXPECT_LT(percentile(histogram, 0.5, 1'500'000), 2048U);
  EXPECT_EQ(percentile(histogram, 1.0, 1'500'000), 1'500'000U);
  EXPECT_LE(percentile(histogram, 0.999, 1'100'000), 1'100'000U);
}

TEST(StackView, Shares) {
  EXPECT_EQ(format_share(1, 8), "12.5%");
  EXPECT_EQ(format_share(5, 5), "100%");
  EXPECT_EQ(format_share(1, 100'000), "<0.1%");
  EXPECT_EQ(format_share(0, 5), "0%");
  EXPECT_EQ(format_share(0, 0), "");
}

TEST(Report, StacksLongestFirstWithReasonAndPlace) {
  const std::string report = text(sample_profile());
  EXPECT_THAT(report, HasSubstr("BLOCKED  63.0s in 5.40k waits"));
  const size_t channel = report.find("chan receive"), mutex = report.find("mutex");
  ASSERT_NE(channel, std::string::npos);
  EXPECT_LT(channel, mutex);
  EXPECT_THAT(report, HasSubstr("log.cpp:42"));
  EXPECT_THAT(report, HasSubstr("fiber::Mutex::lock"));
  EXPECT_THAT(report, Not(HasSubstr("fiber::detail::park")));
  EXPECT_THAT(report, Not(HasSubstr("fiber_entry")));
  EXPECT_THAT(text(sample_profile(), GroupBy::stack, true), HasSubstr("fiber_entry"));
}

TEST(Report, IdlenessIsNeverPartOfASum) {
  const json report = json::parse(report_json(sample_profile(), {GroupBy::reason, 10, false}));
  EXPECT_EQ(report["blocked"]["total_ns"], 63'000'000'000);
  EXPECT_EQ(report["off_cpu"]["total_ns"], 600'000'000);
  EXPECT_EQ(report["idle"]["total_ns"], 100'000'000'000);
  EXPECT_THAT(text(sample_profile()), HasSubstr("IDLE  1m40s"));
}

TEST(Report, RowsAddUpHoweverTheyAreGrouped) {
  for (const GroupBy by : {GroupBy::stack, GroupBy::reason, GroupBy::fiber}) {
    const json report = json::parse(report_json(sample_profile(), {by, 0, false}));
    uint64_t total = 0, count = 0;
    for (const json& row : report["blocked"]["rows"]) {
      total += row["total_ns"].get<uint64_t>();
      count += row["count"].get<uint64_t>() + row["open_count"].get<uint64_t>();
    }
    EXPECT_EQ(total, 63'000'000'000U);
    EXPECT_EQ(count, 5402U);
  }
}

TEST(Report, SameStackAtOtherAddressesIsOneRow) {
  Profile profile = sample_profile();
  Sample again = profile.samples[0];
  ProfileFrame moved = profile.frames[0];
  moved.address += 8;
  profile.frames.push_back(moved);
  again.frames[0] = static_cast<uint32_t>(profile.frames.size() - 1);
  profile.samples.push_back(again);
  const Section section = waits(profile, GroupBy::stack, true);
  ASSERT_EQ(section.rows.size(), 3U);
  EXPECT_EQ(section.rows[0].count, 10'000U);
  EXPECT_EQ(section.rows[0].histogram[23], 10'000U);
}

TEST(Report, FitsEightyColumns) {
  for (const GroupBy by : {GroupBy::stack, GroupBy::reason, GroupBy::fiber, GroupBy::worker}) {
    for (const std::string& line : lines(text(sample_profile(), by))) {
      if (line.rfind("LOST", 0) == 0) continue;  // a sentence, wrapped by the terminal
      EXPECT_LE(display_width(line), 80U) << line;
    }
  }
}

TEST(Report, LossesAreSaidAlways) {
  Profile profile = sample_profile();
  EXPECT_THAT(text(profile), HasSubstr("LOST  3 events could not be recorded (stack_map_full 3)"));
  profile.losses.clear();
  EXPECT_THAT(text(profile), HasSubstr("No event was lost."));
}

TEST(Report, HostileNamesCannotReachTheTerminal) {
  Profile profile = sample_profile();
  const std::string evil = "\x1b]0;owned\x07\x1b[2J\nfake line\r\xff\xe2\x80\xae";
  for (ProfileFrame& frame : profile.frames) frame.function = frame.file = frame.binary = evil;
  for (Sample& sample : profile.samples) sample.reason = sample.name = sample.process = evil;
  profile.target = profile.host = profile.kernel = profile.tier = profile.command = evil;
  profile.losses = {{evil, 1}};
  for (const GroupBy by : {GroupBy::stack, GroupBy::reason, GroupBy::fiber, GroupBy::worker}) {
    for (const std::string& line : lines(text(profile, by))) EXPECT_EQ(line, sanitize(line));
    const json report = json::parse(report_json(profile, {by, 0, true}));
    EXPECT_EQ(report["target"], sanitize(evil));
  }
}

TEST(Report, EmptyRecordingSaysSo) {
  EXPECT_THAT(text(Profile{}), HasSubstr("no wait of a fiber ended"));
  EXPECT_TRUE(json::parse(report_json(Profile{}, {}))["blocked"]["rows"].empty());
}

}  // namespace
}  // namespace fiberprof
