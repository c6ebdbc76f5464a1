// SPDX-License-Identifier: BSD-2-Clause
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "render/palette.h"
#include "render/sample_top.h"
#include "render/top_keys.h"
#include "render/top_layout.h"
#include "render/top_text.h"
#include "support/text.h"

namespace fiberprof {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using Group = TopBuilder::Group;

TopModel sample_model(uint64_t seconds = 5, bool since_start = false, Group group = Group::stack) {
  return sample_top(seconds).model(sample_symbolize, group, since_start);
}

std::string drawn(const TopModel& model, TopView view = {}, size_t columns = 80, size_t rows = 24) {
  return top_text(top_layout(model, view, columns, rows), Style(false));
}

TEST(TopModel, CoversTheIntervalBetweenTwoSnapshots) {
  const TopModel model = sample_model();
  EXPECT_EQ(model.interval_ns, kSecond);
  EXPECT_EQ(model.watched_ns, 5 * kSecond);
  ASSERT_EQ(model.stacks.size(), 2U);
  EXPECT_EQ(model.stacks[0].reason, "mutex");  // 4 s a second come before 1 s a second
  EXPECT_EQ(model.stacks[0].count, 10U);       // two addresses, one text: one row
  EXPECT_EQ(model.stacks[0].total_ns, 4 * kSecond);
  EXPECT_EQ(model.histogram(model.stacks[0])[28], 10U);
  EXPECT_EQ(model.stacks[1].reason, "chan receive");
  EXPECT_EQ(model.stacks[1].count, 100U);
  EXPECT_EQ(model.stacks[1].mean_ns(), 10 * kMillisecond);
  EXPECT_EQ(model.stacks[1].queued_ns, 20 * kMillisecond);
  EXPECT_EQ(model.stacks[1].shown->frames[model.stacks[1].shown->culprit]->function, "kvd::Log::run()");
  EXPECT_EQ(model.waits, 110U);
  EXPECT_EQ(model.blocked_ns, 5 * kSecond);
  EXPECT_EQ(model.fibers_created, 50U);
  EXPECT_EQ(model.handoffs, 2U);
}

TEST(TopModel, SinceStartCoversEverything) {
  const TopModel model = sample_model(5, true);
  EXPECT_EQ(model.interval_ns, 5 * kSecond);
  EXPECT_EQ(model.waits, 550U);
  EXPECT_EQ(model.blocked_ns, 25 * kSecond);
  EXPECT_EQ(model.fibers_created, 250U);
}

TEST(TopModel, FirstSnapshotCountsFromTheAttach) {
  TopBuilder builder(12, "kvd", true);
  builder.update(sample_snapshot(3), sample_summary(3), sample_census());
  const TopModel model = builder.model(sample_symbolize, Group::stack, false);
  EXPECT_EQ(model.interval_ns, 3 * kSecond);
  EXPECT_EQ(model.waits, 330U);
  EXPECT_EQ(model.fibers_created, 0U);  // unknown: the registry was not read at the attach
}

TEST(TopModel, ResetBeginsAnew) {
  TopBuilder builder = sample_top(5);
  builder.reset();
  EXPECT_EQ(builder.model(sample_symbolize, Group::stack, false).waits, 0U);
  builder.update(sample_snapshot(6), sample_summary(6), sample_census());
  EXPECT_EQ(builder.model(sample_symbolize, Group::stack, true).waits, 110U);
  EXPECT_EQ(builder.model(sample_symbolize, Group::stack, true).watched_ns, kSecond);
}

TEST(TopModel, NumbersThatGoBackwardsAreZeroNotHuge) {
  TopBuilder builder(12, "kvd", true);
  builder.update(sample_snapshot(5), sample_summary(5), sample_census());
  builder.update(sample_snapshot(4), sample_summary(4), sample_census());
  const TopModel model = builder.model(sample_symbolize, Group::stack, false);
  EXPECT_EQ(model.waits, 0U);
  EXPECT_EQ(model.blocked_ns, 0U);
  EXPECT_EQ(model.interval_ns, 0U);
  EXPECT_THAT(drawn(model), HasSubstr("no wait of a fiber ended"));
}

// The kernel gives its entries in any order, and new ones anywhere between those that were there.
TEST(TopModel, RowsStayTheirsWhereverTheirEntriesAre) {
  TopBuilder builder = sample_top(5);
  const TopModel before = builder.model(sample_symbolize, Group::stack, false);
  Snapshot moved = sample_snapshot(6);
  BlockedEntry fresh = moved.blocked[0];  // another reason at the same stack
  fresh.reason = FIBERPROF_REASON_MUTEX;
  fresh.count = fresh.events = 7;
  fresh.parked_ns = 3 * kSecond;
  fresh.queued_ns = 0;
  moved.blocked = {moved.blocked[2], fresh, moved.blocked[1], moved.blocked[0]};
  builder.update(std::move(moved), sample_summary(6), sample_census());
  const TopModel after = builder.model(sample_symbolize, Group::stack, false);
  ASSERT_EQ(after.stacks.size(), 3U);
  EXPECT_EQ(after.stacks[0].key, before.stacks[0].key);
  EXPECT_EQ(after.stacks[0].count, 10U);
  EXPECT_EQ(after.stacks[0].total_ns, 4 * kSecond);
  EXPECT_EQ(after.stacks[1].reason, "mutex");
  EXPECT_EQ(after.stacks[1].count, 7U);
  EXPECT_EQ(after.stacks[1].shown, before.stacks[1].shown);
  EXPECT_EQ(after.stacks[2].key, before.stacks[1].key);
  EXPECT_EQ(after.stacks[2].count, 100U);
  EXPECT_EQ(after.account.total.parked_ns.at("mutex"), 7 * kSecond);
  EXPECT_EQ(after.account.total.parked_ns.at("chan receive"), 980 * kMillisecond);
  // By reason, and by stack again: what is known of the one is not taken for the other.
  const TopModel reasons = builder.model(sample_symbolize, Group::reason, false);
  ASSERT_EQ(reasons.stacks.size(), 2U);
  EXPECT_EQ(reasons.stacks[0].count, 17U);
  EXPECT_EQ(builder.model(sample_symbolize, Group::stack, false).stacks[0].key, before.stacks[0].key);
}

TEST(TopModel, IdleWorkersAreNotWaiting) {
  const TopModel model = sample_model();
  EXPECT_EQ(model.idle_ns, 1500 * kMillisecond);
  ASSERT_EQ(model.kernel.size(), 2U);
  EXPECT_EQ(model.kernel[0].cause, "futex wait");
  EXPECT_EQ(model.kernel[0].total_ns, 300 * kMillisecond);
  // The mutex of the C library is charged to the program's function that locks it.
  EXPECT_EQ(model.kernel[0].function, "kvd::Shard::set(std::string const&, std::string)");
  EXPECT_EQ(model.kernel[1].cause, "preempted");
}

TEST(TopModel, ProcessorsHaveStateDepthAndPast) {
  const TopModel model = sample_model();
  ASSERT_EQ(model.processors.size(), 2U);
  EXPECT_EQ(model.processors[0].state, "running");
  EXPECT_EQ(model.processors[0].depth, 4U);
  EXPECT_DOUBLE_EQ(model.processors[0].mean_depth, 2.5);
  EXPECT_DOUBLE_EQ(model.processors[0].idle, 0.1);
  EXPECT_THAT(model.processors[0].history, ElementsAre(2.5, 2.5, 2.5, 2.5, 2.5));
  EXPECT_EQ(model.processors[1].state, "idle");
}

TEST(TopModel, GroupedByReasonHasNoFrames) {
  const TopModel model = sample_model(5, false, Group::reason);
  ASSERT_EQ(model.stacks.size(), 2U);
  EXPECT_TRUE(model.stacks[0].shown->frames.empty());
  EXPECT_EQ(model.stacks[0].total_ns, 4 * kSecond);
}

TEST(TopJson, HasTheSameFactsOnOneLine) {
  const TopModel model = sample_model();
  const std::string text = top_json(model, 100);
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const json out = json::parse(text);
  EXPECT_EQ(out["fibers"]["parked"], 1004);
  EXPECT_EQ(out["fibers"]["parked_by_reason"]["io read"]["count"], 980);
  EXPECT_EQ(out["stacks"][0]["total_ns"], 4 * kSecond);
  EXPECT_EQ(out["stacks"][0]["frames"][1]["line"], 12);
  EXPECT_EQ(out["kernel"][0]["cause"], "futex wait");
  EXPECT_EQ(out["idle_ns"], 1500 * kMillisecond);
  EXPECT_EQ(out["processors"][0]["mean_depth"], 2.5);
  EXPECT_EQ(out["losses"]["total"], 0);
}

TEST(TopLayout, FirstScreenFitsEightyByTwentyFourAndAnswers) {
  TopView view;
  view.live = true;
  const TopModel model = sample_model();
  const std::vector<Line> lines = top_layout(model, view, 80, 24);
  EXPECT_EQ(lines.size(), 24U);
  for (const Line& line : lines) EXPECT_LE(line.width(), 80U) << line.text();
  const std::string text = drawn(model);
  for (const char* fact : {"kvd (12)", "1020", "14 runnable", "1004 parked", "io read 980 up to 3m12s", "P0 running",
                           "2.5", "10.0% idle", "4.00s", "mutex", "kvd::Shard::set", "chan receive", "kvd::Log::run",
                           "futex wait", "preempted", "idle 1.50s/s"}) {
    EXPECT_THAT(text, HasSubstr(fact));
  }
  EXPECT_THAT(lines.back().text(), HasSubstr("q quit"));
}

TEST(TopLayout, AnySizeIsKept) {
  TopModel model = sample_model();
  model.losses.stack_map_full = 7;
  for (uint32_t i = 2; i < 100; ++i) {
    TopProcessor processor = model.processors[0];
    processor.index = i;
    model.processors.push_back(processor);
    TopStack stack = model.stacks[0];
    stack.key += i;
    model.stacks.push_back(stack);
  }
  for (const size_t columns : {20U, 40U, 80U, 200U}) {
    for (const size_t rows : {1U, 5U, 10U, 24U, 80U}) {
      for (const bool live : {false, true}) {
        TopView view;
        view.live = live;
        view.selected = 50;
        view.expanded = {model.stacks[50].key};
        const std::vector<Line> lines = top_layout(model, view, columns, rows);
        EXPECT_LE(lines.size(), rows);
        for (const Line& line : lines) EXPECT_LE(line.width(), columns) << line.text();
        if (live && rows >= 24) {
          EXPECT_THAT(lines, Contains(testing::Field(&Line::stack, 50))) << columns << "x" << rows;
        }
      }
    }
  }
}

TEST(TopLayout, FibersThatWereNotCountedNowSayWhenTheyWere) {
  TopBuilder builder = sample_top(5);
  EXPECT_THAT(drawn(builder.model(sample_symbolize, Group::stack, false)), Not(HasSubstr(" ago")));
  builder.update(sample_snapshot(6), sample_summary(6), std::nullopt);
  builder.update(sample_snapshot(8), sample_summary(8), std::nullopt);
  const TopModel late = builder.model(sample_symbolize, Group::stack, false);
  EXPECT_EQ(late.fibers_age_ns, 3 * kSecond);
  EXPECT_THAT(drawn(late), HasSubstr("1004 parked   3s ago"));
  EXPECT_THAT(drawn(late, {}, 100), HasSubstr("1004 parked   3s ago   +50/s"));
  EXPECT_EQ(json::parse(top_json(late, 1))["fibers"]["age_ns"], 3 * kSecond);
  builder.update(sample_snapshot(9), sample_summary(9), sample_census());
  EXPECT_EQ(builder.model(sample_symbolize, Group::stack, false).fibers_age_ns, 0U);
}

TEST(FiberCensus, WhoHasADeadlineWillRunAgain) {
  FiberCensus census = sample_census();
  EXPECT_FALSE(census.may_be_deadlocked());
  census.endless = 1;
  EXPECT_TRUE(census.may_be_deadlocked());
  census.endless = 0;
  census.complete = false;
  EXPECT_TRUE(census.may_be_deadlocked());
  census.complete = true;
  census.torn = 1;
  EXPECT_TRUE(census.may_be_deadlocked());
}

TEST(TopLayout, LossesAreSaid) {
  TopModel model = sample_model();
  EXPECT_THAT(drawn(model), Not(HasSubstr("LOST")));
  model.losses.clipped = 5;  // recorded, only not in full
  EXPECT_THAT(drawn(model), Not(HasSubstr("LOST")));
  model.losses.stack_map_full = 7;
  EXPECT_THAT(drawn(model), HasSubstr("LOST  7 events not recorded (stack map full 7)"));
}

TEST(TopLayout, ADeadlockHasALineOfItsOwn) {
  TopModel model = sample_model();
  EXPECT_THAT(drawn(model), Not(HasSubstr("DEADLOCK")));
  model.deadlock = {5, 2, "2 fibers wait for each other in a cycle"};
  EXPECT_THAT(drawn(model), HasSubstr("DEADLOCK  5 fibers will never run again: 2 fibers wait for each other in a"));
}

TEST(TopLayout, WithoutARegistryTheRestIsThere) {
  TopBuilder builder(12, "kvd", true);
  builder.update(sample_snapshot(1), std::nullopt, std::nullopt);
  const std::string text = drawn(builder.model(sample_symbolize, Group::stack, false));
  EXPECT_THAT(text, HasSubstr("no registry"));
  EXPECT_THAT(text, HasSubstr("kvd::Shard::set"));
  TopModel awaited = builder.model(sample_symbolize, Group::stack, false);
  awaited.fibers_awaited = true;
  EXPECT_THAT(drawn(awaited), HasSubstr("FIBERS  not counted yet"));
}

TEST(TopLayout, HostileNamesCannotReachTheTerminal) {
  const std::string evil = "\x1b[2J\x1b]0;owned\x07\n\r\t\xff\xe2\x80\xae";
  TopModel model = sample_model();
  model.process = evil;
  for (TopStack& stack : model.stacks) {
    ShownStack shown = *stack.shown;
    for (auto& each : shown.frames) {
      Frame frame = *each;
      frame.function = frame.file = frame.binary = evil;
      each = std::make_shared<const Frame>(std::move(frame));
    }
    stack.shown = std::make_shared<const ShownStack>(std::move(shown));
  }
  for (TopKernelWait& wait : model.kernel) wait.function = evil;
  TopView view;
  view.expanded = {model.stacks[0].key};
  view.filter = "";
  for (const Line& line : top_layout(model, view, 80, 40)) {
    for (const Span& span : line.spans) EXPECT_EQ(span.text, sanitize(span.text));
  }
  EXPECT_EQ(json::parse(top_json(model, 10))["process"], sanitize(evil));
}

class TopKeys : public testing::Test {
 protected:
  TopAction press(const std::string& text) { return apply_key(state_, {Key::text, text}, model_, 24); }
  TopAction press(Key key) { return apply_key(state_, {key, ""}, model_, 24); }
  TopModel model_ = sample_model();
  TopState state_;
};

TEST_F(TopKeys, ArrowsSelectAndEnterExpands) {
  press(Key::down);
  press(Key::down);  // there are only two
  EXPECT_EQ(state_.view.selected, 1U);
  press(Key::enter);
  EXPECT_THAT(state_.view.expanded, ElementsAre(model_.stacks[1].key));
  EXPECT_THAT(drawn(model_, state_.view, 80, 30), HasSubstr("fiber::Channel<kvd::Entry>::receive"));
  press(Key::enter);
  EXPECT_TRUE(state_.view.expanded.empty());
  press(Key::up);
  EXPECT_EQ(state_.view.selected, 0U);
}

TEST_F(TopKeys, SelectionFollowsItsStackWhenTheOrderChanges) {
  press(Key::down);
  std::swap(model_.stacks[0].total_ns, model_.stacks[1].total_ns);
  top_layout(model_, state_.view, 80, 24);
  EXPECT_EQ(state_.view.selected, 0U);
}

TEST_F(TopKeys, SearchShowsOnlyWhatMatches) {
  press("/");
  for (const char* letter : {"L", "o", "G", "x"}) press(letter);
  press(Key::erase);
  press(Key::enter);
  EXPECT_EQ(state_.view.filter, "LoG");
  EXPECT_THAT(shown_stacks(model_, state_.view), ElementsAre(1));
  press(Key::escape);
  EXPECT_EQ(shown_stacks(model_, state_.view).size(), 2U);
}

TEST_F(TopKeys, LettersOfASearchAreNoCommands) {
  press("/");
  EXPECT_EQ(press("q"), TopAction::none);
  press("é");
  EXPECT_EQ(state_.view.filter, "qé");
  press(Key::erase);  // a character, not a byte
  EXPECT_EQ(state_.view.filter, "q");
}

TEST_F(TopKeys, SortPauseGroupResetQuit) {
  press("s");
  EXPECT_EQ(state_.view.sort, TopSort::count);
  EXPECT_THAT(shown_stacks(model_, state_.view), ElementsAre(1, 0));
  press(" ");
  EXPECT_TRUE(state_.view.paused);
  EXPECT_EQ(press(Key::f5), TopAction::rebuild);
  EXPECT_EQ(state_.view.group, Group::reason);
  EXPECT_EQ(press("r"), TopAction::reset);
  EXPECT_EQ(press("c"), TopAction::rebuild);
  EXPECT_TRUE(state_.since_start);
  press("h");
  EXPECT_TRUE(state_.help);
  EXPECT_EQ(press("x"), TopAction::none);
  EXPECT_FALSE(state_.help);
  EXPECT_EQ(press("q"), TopAction::quit);
}

TEST(Palette, SameReasonSameColourAlways) {
  EXPECT_EQ(hex(reason_colour("mutex")), hex(reason_colour("mutex")));
  EXPECT_NE(hex(reason_colour("mutex")), hex(reason_colour("chan receive")));
  EXPECT_EQ(hex(reason_colour("something new")), hex(reason_colour("something new")));
  EXPECT_EQ(Style(false).reason("mutex", "x"), "x");
  EXPECT_THAT(Style(true).reason("mutex", "x"), HasSubstr("\x1b[38;5;"));
}

}  // namespace
}  // namespace fiberprof
