// SPDX-License-Identifier: BSD-2-Clause
// The table of `top -a`: its order, its lines at every size, its keys and its JSON.
#include "render/top_processes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "support/text.h"

namespace fiberprof {
namespace {

using nlohmann::json;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr uint64_t kSecond = 1'000'000'000;

ProcessRow row(uint64_t serial, const std::string& name, uint64_t blocked_ns) {
  ProcessRow row;
  row.serial = serial;
  row.pid = static_cast<uint32_t>(100 + serial);
  row.name = name;
  row.fibers = 1000 * serial;
  row.blocked_ns = blocked_ns;
  row.queued_ns = blocked_ns / 4;
  row.waits = 10 * serial;
  row.queue = 0.5 * static_cast<double>(serial);
  row.kernel_ns = kSecond / serial;
  return row;
}

ProcessTable sample() {
  ProcessTable table;
  table.interval_ns = 2 * kSecond;
  table.watched_ns = 60 * kSecond;
  table.rows = {row(1, "mailer", 4 * kSecond), row(2, "kvd", 8 * kSecond), row(3, "proxy", 6 * kSecond),
                row(4, "batch", 9 * kSecond)};
  table.rows[3].ended = true;
  table.rows[2].fibers.reset();
  table.rows[1].more_fibers = true;
  table.running = 3;
  table.ended = 1;
  return table;
}

std::vector<std::string> drawn(const ProcessTable& table, ProcessView view = {}, size_t columns = 80,
                               size_t rows = 24) {
  std::vector<std::string> texts;
  for (const Line& line : process_layout(table, view, columns, rows)) texts.push_back(line.text());
  return texts;
}

KeyPress letter(const char* text) { return {Key::text, text}; }

TEST(ProcessTable, SaysWhenFibersWereCountedIfNotNow) {
  ProcessTable table = sample();
  EXPECT_THAT(drawn(table), Not(Contains(HasSubstr("ago"))));
  table.rows[0].fibers_age_ns = 2 * kSecond;
  table.rows[1].fibers_age_ns = 3 * kSecond;
  table.rows[2].fibers_age_ns = 9 * kSecond;  // has no registry
  table.rows[3].fibers_age_ns = 9 * kSecond;  // has ended
  EXPECT_THAT(drawn(table), Contains(HasSubstr("fibers were counted 3s ago")));
  const json out = json::parse(process_json(table));
  EXPECT_EQ(out["programs"][0]["process"], "kvd");
  EXPECT_EQ(out["programs"][0]["fibers_age_ns"], 3 * kSecond);
  EXPECT_TRUE(out["programs"][1]["fibers_age_ns"].is_null());
}

TEST(ProcessTable, ThoseThatHaveEndedComeLastWhateverTheOrder) {
  const ProcessTable table = sample();
  const auto by = [&](ProcessSort sort) {
    ProcessView view;
    view.sort = sort;
    return shown_processes(table, view);
  };
  EXPECT_THAT(by(ProcessSort::blocked), ElementsAre(1, 2, 0, 3));
  EXPECT_THAT(by(ProcessSort::waits), ElementsAre(2, 1, 0, 3));
  EXPECT_THAT(by(ProcessSort::kernel), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(by(ProcessSort::queue), ElementsAre(2, 1, 0, 3));
  EXPECT_THAT(by(ProcessSort::fibers), ElementsAre(1, 0, 2, 3)) << "without a registry: as if none";
  EXPECT_THAT(by(ProcessSort::name), ElementsAre(1, 0, 2, 3));
}

TEST(ProcessTable, LinesSayAmountsPerSecond) {
  const auto lines = drawn(sample());
  EXPECT_THAT(lines, Contains(HasSubstr("3 running   1 ended   blocked 13.5s/s in 50 waits/s")));
  const auto line_of = [&](const std::string& name) {
    for (const std::string& line : lines)
      if (line.find(name) != std::string::npos) return line;
    return std::string();
  };
  EXPECT_THAT(line_of("kvd"), testing::MatchesRegex(" +102  kvd +2.0+k?\\+ +4.0*s +10 +25% +1.0 +250ms"));
  EXPECT_THAT(line_of("proxy"), testing::MatchesRegex(" +103  proxy +- +3.0*s +15 +25% +1.5 +167ms"));
  EXPECT_THAT(line_of("batch"), HasSubstr("ended"));
}

TEST(ProcessTable, NothingIsDividedByAnEmptyInterval) {
  ProcessTable table = sample();
  table.interval_ns = 0;
  for (ProcessRow& each : table.rows) each.blocked_ns = each.queued_ns = 0;
  EXPECT_THAT(drawn(table), Contains(HasSubstr("blocked 0/s in 0 waits/s")));
}

TEST(ProcessTable, FitsEverySizeAndShowsTheSelection) {
  ProcessTable table = sample();
  for (uint64_t serial = 5; serial < 200; ++serial)
    table.rows.push_back(row(serial, "a process with a name", serial * 1000));
  table.losses.stack_map_full = 3;
  table.warnings = {"first", "second", "third", "a fourth that is rather long so that it has to be cut somewhere"};
  for (const size_t columns : {20U, 40U, 80U, 200U}) {
    for (const size_t rows : {1U, 2U, 5U, 10U, 24U, 80U}) {
      for (const bool live : {false, true}) {
        ProcessView view;
        view.live = live;
        view.selected = 150;
        const std::vector<Line> lines = process_layout(table, view, columns, rows);
        EXPECT_LE(lines.size(), rows);
        if (live) {
          EXPECT_EQ(lines.size(), rows);
        }
        for (const Line& line : lines) EXPECT_LE(line.width(), columns) << line.text();
        if (live && rows >= 24) {
          EXPECT_THAT(lines, Contains(testing::Field(&Line::stack, 150))) << columns << "x" << rows;
        }
      }
    }
  }
}

TEST(ProcessTable, TheSelectedOneStaysSelectedWhenTheOrderChanges) {
  ProcessTable table = sample();
  ProcessView view;
  view.live = true;
  EXPECT_EQ(apply_key(view, {Key::down, ""}, table, 24), ProcessAction::none);
  EXPECT_EQ(view.selected_serial, 3u);  // proxy
  table.rows[2].blocked_ns = 1;
  process_layout(table, view, 80, 24);
  EXPECT_EQ(view.selected, 2u);
  EXPECT_EQ(view.selected_serial, 3u);
  table.rows.resize(1);  // it is gone, and so are others
  process_layout(table, view, 80, 24);
  EXPECT_EQ(view.selected, 0u);
}

TEST(ProcessTable, KeysMoveSortOpenAndEnd) {
  const ProcessTable table = sample();
  ProcessView view;
  view.live = true;
  EXPECT_EQ(apply_key(view, {Key::end, ""}, table, 24), ProcessAction::none);
  EXPECT_EQ(view.selected, 3u);
  EXPECT_EQ(apply_key(view, {Key::page_down, ""}, table, 24), ProcessAction::none);
  EXPECT_EQ(view.selected, 3u);
  EXPECT_EQ(apply_key(view, letter("k"), table, 24), ProcessAction::none);
  EXPECT_EQ(view.selected, 2u);
  EXPECT_EQ(apply_key(view, {Key::home, ""}, table, 24), ProcessAction::none);
  EXPECT_EQ(apply_key(view, {Key::up, ""}, table, 24), ProcessAction::none);
  EXPECT_EQ(view.selected, 0u);
  EXPECT_EQ(apply_key(view, {Key::enter, ""}, table, 24), ProcessAction::open);
  EXPECT_EQ(view.selected_serial, 2u);  // kvd
  for (int i = 0; i < 6; ++i) apply_key(view, letter("s"), table, 24);
  EXPECT_EQ(view.sort, ProcessSort::blocked) << "through all and around";
  apply_key(view, letter("p"), table, 24);
  EXPECT_TRUE(view.paused);
  EXPECT_THAT(drawn(table, view), Contains(HasSubstr("PAUSED")));
  apply_key(view, letter("h"), table, 24);
  EXPECT_TRUE(view.help);
  EXPECT_EQ(apply_key(view, letter("x"), table, 24), ProcessAction::none);
  EXPECT_FALSE(view.help);
  EXPECT_EQ(apply_key(view, letter("q"), table, 24), ProcessAction::quit);
}

TEST(ProcessTable, WithoutARowThereIsNothingToOpen) {
  ProcessTable table;
  table.interval_ns = kSecond;
  ProcessView view;
  view.live = true;
  EXPECT_THAT(drawn(table, view), Contains(HasSubstr("none runs")));
  for (const Key key : {Key::down, Key::up, Key::end, Key::page_up, Key::enter})
    EXPECT_EQ(apply_key(view, {key, ""}, table, 24), ProcessAction::none);
}

TEST(ProcessTable, LossesAreSaidAndWarningsOnAScreen) {
  ProcessTable table = sample();
  table.losses.clipped = 4;  // recorded, only not in full
  table.warnings = {"no room"};
  EXPECT_THAT(drawn(table), Not(Contains(HasSubstr("LOST"))));
  table.losses.blocked_map_full = 7;
  EXPECT_THAT(drawn(table), Contains("LOST  7 events not recorded (blocked map full 7)"));
  EXPECT_THAT(drawn(table), Not(Contains("no room"))) << "it is on standard error";
  ProcessView view;
  view.live = true;
  EXPECT_THAT(drawn(table, view), Contains("no room"));
}

TEST(ProcessTable, HostileNamesReachNeitherTerminalNorJson) {
  const std::string evil = "\x1b[2J\x1b]0;owned\x07\n\r\t\xff\xe2\x80\xae";
  ProcessTable table = sample();
  for (ProcessRow& each : table.rows) each.name = evil;
  table.warnings = {evil};
  ProcessView view;
  view.live = true;
  for (const Line& line : process_layout(table, view, 80, 24))
    for (const Span& span : line.spans) EXPECT_EQ(span.text, sanitize(span.text));
  EXPECT_EQ(json::parse(process_json(table))["programs"][0]["process"], sanitize(evil));
}

TEST(ProcessTable, JsonHasTheSameRows) {
  const std::string text = process_json(sample());
  EXPECT_EQ(text.find('\n'), text.size() - 1);
  const json out = json::parse(text);
  EXPECT_EQ(out["running"], 3);
  EXPECT_EQ(out["ended"], 1);
  EXPECT_EQ(out["interval_ns"], 2 * kSecond);
  ASSERT_EQ(out["programs"].size(), 4u);
  EXPECT_EQ(out["programs"][0]["process"], "kvd");
  EXPECT_EQ(out["programs"][0]["blocked_ns"], 8 * kSecond);
  EXPECT_EQ(out["programs"][0]["fibers"], 2000);
  EXPECT_TRUE(out["programs"][1]["fibers"].is_null());
  EXPECT_EQ(out["programs"][3]["ended"], true);
  EXPECT_EQ(out["losses"]["total"], 0);
}

}  // namespace
}  // namespace fiberprof
