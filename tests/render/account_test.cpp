// SPDX-License-Identifier: BSD-2-Clause
// The account of the fibers' time, from a recording and within the intervals of `top`.
#include "render/account.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "render/account_text.h"
#include "render/sample_top.h"
#include "render/top_time.h"

namespace fiberprof {
namespace {

using testing::HasSubstr;

Sample sample(SampleKind kind, const std::string& reason, std::vector<uint32_t> frames, uint64_t total_ns,
              uint64_t queued_ns = 0) {
  Sample sample;
  sample.kind = kind;
  sample.reason = reason;
  sample.pid = 12;
  sample.process = "kvd";
  sample.frames = std::move(frames);
  sample.count = 1;
  sample.total_ns = total_ns;
  sample.queued_ns = queued_ns;
  return sample;
}

Profile profile() {
  Profile profile;
  for (const char* function : {"fiber::Mutex::lock()", "kvd::set()", "kvd::session()", "kvd::flush()"}) {
    ProfileFrame frame;
    frame.function = function;
    frame.binary = "/usr/bin/kvd";
    frame.runtime = profile.frames.empty();
    profile.frames.push_back(frame);
  }
  profile.samples = {sample(SampleKind::blocked, "mutex", {0, 1, 2}, 500, 100),
                     sample(SampleKind::open, "mutex", {0, 2}, 40), sample(SampleKind::off_cpu, "preempted", {1, 2}, 7),
                     sample(SampleKind::off_cpu, "disk: fsync", {3}, 60),
                     sample(SampleKind::idle, "futex wait", {0}, 100'000)};
  profile.queued = {{12, "kvd", "kvd::session()", 130}};
  profile.counters["fiber_us"] = 1;
  return profile;
}

TEST(Account, OfARecordingSortsEveryNanosecondUnderItsFunctionOnce) {
  const Account account = account_of(profile());
  ASSERT_EQ(account.rows.size(), 2u);
  const AccountRow& session = account.rows[0];
  EXPECT_EQ(session.site, "kvd::session()");
  // What was queued after the wait is among what was queued at all.
  EXPECT_EQ(session.parked_ns.at("mutex"), 440u);
  EXPECT_EQ(session.queued_ns, 130u);
  EXPECT_EQ(session.preempted_ns, 7u);
  EXPECT_EQ(session.kernel(), 0u);
  EXPECT_EQ(account.rows[1].site, "kvd::flush()");
  EXPECT_EQ(account.rows[1].kernel_ns.at("disk: fsync"), 60u);
  EXPECT_EQ(account.total.total(), 440u + 130 + 7 + 60);
  EXPECT_EQ(account.lived_ns, 1000u);
}

TEST(Account, TextSaysHowMuchOfTheTimeIsKnown) {
  const auto lines = account_text(account_of(profile()), 10, Style(false), 100);
  ASSERT_GE(lines.size(), 4u);
  EXPECT_THAT(lines[0], HasSubstr("1.00us lived by fibers, 63.7% of it accounted for"));
  EXPECT_THAT(lines[2], HasSubstr("kvd::session"));
  EXPECT_TRUE(account_text(Account{}, 10, Style(false), 100).empty());
}

// --- top -------------------------------------------------------------------------------------------------------------

FiberCensus open_waits(uint64_t total_ns) {
  FiberCensus census;
  census.parked = 1;
  census.open = {{0x21, FIBERPROF_REASON_MUTEX, total_ns}};
  return census;
}

Snapshot ended_waits(uint64_t second, uint64_t parked_ns) {
  Snapshot snapshot;
  snapshot.attached_ns = 100 * kSecond;
  snapshot.time_ns = (100 + second) * kSecond;
  snapshot.stacks = {{2, {0x20, 0x21}}};
  if (parked_ns == 0) return snapshot;
  BlockedEntry entry;
  entry.pid = 12;
  entry.reason = FIBERPROF_REASON_MUTEX;
  entry.stack = 2;
  entry.count = entry.events = 1;
  entry.parked_ns = parked_ns;
  snapshot.blocked = {entry};
  return snapshot;
}

// A wait of 2.5 s that ends half a second into the third interval is one second in each of the first two.
TEST(TopAccount, AWaitBelongsToTheIntervalsItLasted) {
  TopBuilder builder(12, "kvd", true);
  const auto parked = [&] {
    const TopModel model = builder.model(sample_symbolize, TopBuilder::Group::stack, false);
    return model.account.total.parked();
  };
  builder.update(ended_waits(0, 0), std::nullopt, open_waits(0));
  builder.update(ended_waits(1, 0), std::nullopt, open_waits(1 * kSecond));
  EXPECT_EQ(parked(), 1 * kSecond);
  builder.update(ended_waits(2, 0), std::nullopt, open_waits(2 * kSecond));
  EXPECT_EQ(parked(), 1 * kSecond);
  builder.update(ended_waits(3, 2'500 * kMillisecond), std::nullopt, FiberCensus{});
  EXPECT_EQ(parked(), 500 * kMillisecond);
  const TopModel all = builder.model(sample_symbolize, TopBuilder::Group::stack, true);
  EXPECT_EQ(all.account.total.parked(), 2'500 * kMillisecond);
  EXPECT_EQ(parked(), 500 * kMillisecond);  // the one is not taken for the other
  ASSERT_EQ(all.account.rows.size(), 1u);
  EXPECT_EQ(all.account.rows[0].site, "kvd::Shard::set(std::string const&, std::string)");
}

TEST(TopAccount, StaysUntilFibersAreCountedAgain) {
  TopBuilder builder(12, "kvd", true);
  const auto account = [&] { return builder.model(sample_symbolize, TopBuilder::Group::stack, false); };
  builder.update(ended_waits(0, 0), std::nullopt, open_waits(0));
  builder.update(ended_waits(1, 0), std::nullopt, open_waits(1 * kSecond));
  EXPECT_EQ(account().account.total.parked(), 1 * kSecond);
  builder.update(ended_waits(2, 0), std::nullopt, std::nullopt);
  EXPECT_EQ(account().account.total.parked(), 1 * kSecond);
  EXPECT_EQ(account().account_ns, 1 * kSecond);
  builder.update(ended_waits(3, 0), std::nullopt, open_waits(3 * kSecond));
  EXPECT_EQ(account().account.total.parked(), 2 * kSecond);
  EXPECT_EQ(account().account_ns, 2 * kSecond);
  builder.reset();
  builder.update(ended_waits(4, 0), std::nullopt, open_waits(4 * kSecond));
  EXPECT_EQ(builder.model(sample_symbolize, TopBuilder::Group::stack, true).account.total.parked(), 1 * kSecond);
}

TEST(TopAccount, LinesSayHowManyFibersAndWhatTheyDid) {
  TopBuilder builder(12, "kvd", true);
  Snapshot first = ended_waits(0, 0), second = ended_waits(2, 3 * kSecond);
  second.queued = {{12, 0x21, 1 * kSecond, 1000}};
  second.counters[12].fiber_us = 4'000'000;
  builder.update(first, std::nullopt, std::nullopt);
  builder.update(second, std::nullopt, std::nullopt);
  const TopModel model = builder.model(sample_symbolize, TopBuilder::Group::stack, false);
  EXPECT_EQ(model.account.lived_ns, 4 * kSecond);
  const std::vector<Line> lines = time_lines(model, 3);
  ASSERT_FALSE(lines.empty());
  EXPECT_THAT(lines[0].text(), HasSubstr("2.00 fibers"));
  EXPECT_THAT(lines[0].text(), HasSubstr("queued 25"));
  EXPECT_THAT(lines[0].text(), HasSubstr("parked 75"));
  EXPECT_TRUE(time_lines(TopModel{}, 3).empty());
}

}  // namespace
}  // namespace fiberprof
