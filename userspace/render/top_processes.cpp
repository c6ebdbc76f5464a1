// SPDX-License-Identifier: BSD-2-Clause
#include "render/top_processes.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "profile/losses.h"
#include "render/help_lines.h"
#include "render/table.h"
#include "render/top_numbers.h"
#include "session/profile_builder.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kMostWarnings = 3;

std::string percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? "-"
                    : std::to_string(std::lround(100.0 * static_cast<double>(part) / static_cast<double>(whole))) + "%";
}

const char* sort_name(ProcessSort sort) {
  switch (sort) {
    case ProcessSort::blocked:
      return "blocked/s";
    case ProcessSort::waits:
      return "waits/s";
    case ProcessSort::kernel:
      return "kernel/s";
    case ProcessSort::queue:
      return "queue";
    case ProcessSort::fibers:
      return "fibers";
    case ProcessSort::name:
      return "process";
  }
  return "";
}

class Layout {
 public:
  Layout(const ProcessTable& table, ProcessView& view, size_t columns, size_t rows)
      : table_(table), view_(view), columns_(columns), rows_(rows) {}

  std::vector<Line> run() {
    head();
    titles();
    std::vector<Line> below = foot();
    const size_t fixed = lines_.size() + below.size() + (view_.live ? 1 : 0);
    body(rows_ > fixed ? rows_ - fixed : 0);
    lines_.insert(lines_.end(), below.begin(), below.end());
    if (view_.live) {
      lines_.resize(std::min(lines_.size(), rows_ - 1));
      while (lines_.size() + 1 < rows_) lines_.emplace_back();
      keys();
    }
    if (lines_.size() > rows_) lines_.resize(rows_);
    return std::move(lines_);
  }

 private:
  static void put(Line& line, size_t columns, Span span) {
    const size_t used = line.width();
    if (used >= columns) return;
    span.text = fit(span.text, columns - used);
    line.spans.push_back(std::move(span));
  }
  void line() { lines_.emplace_back(); }
  void add(std::string text, Role role = Role::normal) { put(lines_.back(), columns_, {std::move(text), role}); }

  void head() {
    line();
    add("fiberprof ", Role::dim);
    add("all programs on fibers", Role::bold);
    add("   " + std::string(table_.exact ? "exact" : "sampled") + "   last " + format_duration(table_.interval_ns) +
            " of " + format_duration(table_.watched_ns),
        Role::dim);
    if (view_.paused) add("   PAUSED", Role::warning);
    uint64_t blocked = 0, waits = 0, age = 0;
    for (const ProcessRow& row : table_.rows) {
      if (!row.ended && row.fibers) age = std::max(age, row.fibers_age_ns);
      blocked += row.blocked_ns;
      waits += row.waits;
    }
    line();
    add("PROGRAMS", Role::heading);
    add("  " + std::to_string(table_.running), Role::bold);
    add(" running", Role::dim);
    if (table_.ended != 0) add("   " + format_count(table_.ended) + " ended", Role::dim);
    add("   blocked ", Role::dim);
    add(format_duration(per_second(blocked, table_.interval_ns)) + "/s", Role::bold);
    add(" in ", Role::dim);
    add(format_count(per_second(waits, table_.interval_ns)), Role::bold);
    add(" waits/s", Role::dim);
    line();
    if (age != 0) add("          fibers were counted " + ago(age), Role::dim);
  }

  void title(const char* text, size_t width, ProcessSort sort, Align align = Align::right) {
    add(pad(text, width, align), view_.sort == sort ? Role::bold : Role::dim);
  }
  // What is left of the width, at most 32.
  size_t name_columns() const { return std::clamp<size_t>(columns_ < 73 ? 15 : columns_ - 58, 15, 32); }
  void titles() {
    line();
    add(pad("PID", 8, Align::right) + "  ", Role::dim);
    title("process", name_columns(), ProcessSort::name, Align::left);
    title("fibers", 8, ProcessSort::fibers);
    title("blocked/s", 10, ProcessSort::blocked);
    title("waits/s", 8, ProcessSort::waits);
    add(pad("queued", 7, Align::right), Role::dim);
    title("queue", 6, ProcessSort::queue);
    title("kernel/s", 9, ProcessSort::kernel);
  }

  void body(size_t room) {
    const auto order = shown_processes(table_, view_);
    if (order.empty()) {
      line();
      add("          none runs; those that start are shown here", Role::dim);
      return;
    }
    for (size_t i = 0; i < order.size() && view_.selected_serial != 0; ++i)
      if (table_.rows[order[i]].serial == view_.selected_serial) view_.selected = i;
    view_.selected = std::min(view_.selected, order.size() - 1);
    if (view_.selected < view_.first) view_.first = view_.selected;
    if (room != 0 && view_.selected >= view_.first + room) view_.first = view_.selected - room + 1;
    view_.first = std::min(view_.first, order.size() > room ? order.size() - room : 0);
    for (size_t i = view_.first; i < order.size() && i < view_.first + room; ++i) {
      if (i + 1 == view_.first + room && i + 1 < order.size() && !(view_.live && i == view_.selected)) {
        line();
        add("          … " + std::to_string(order.size() - i) + " more", Role::dim);
        break;
      }
      row(table_.rows[order[i]]);
      lines_.back().stack = static_cast<int>(i);
    }
  }

  void row(const ProcessRow& row) {
    const auto role = [&](Role otherwise) { return row.ended ? Role::dim : otherwise; };
    const size_t name = name_columns();
    const uint64_t interval = table_.interval_ns;
    line();
    add(pad(std::to_string(row.pid), 8, Align::right) + "  ", Role::dim);
    add(pad(fit(row.name, name), name), role(Role::bold));
    add(pad(row.ended    ? "ended"
            : row.fibers ? format_count(*row.fibers) + (row.more_fibers ? "+" : "")
                         : "-",
            8, Align::right),
        role(Role::normal));
    add(pad(format_duration(per_second(row.blocked_ns, interval)), 10, Align::right), role(Role::bold));
    add(pad(format_count(per_second(row.waits, interval)), 8, Align::right), role(Role::normal));
    add(pad(percent(row.queued_ns, row.blocked_ns), 7, Align::right), role(Role::normal));
    add(pad(depth(row.queue), 6, Align::right), role(Role::normal));
    add(pad(format_duration(per_second(row.kernel_ns, interval)), 9, Align::right), role(Role::normal));
  }

  std::vector<Line> foot() const {
    std::vector<Line> lines;
    if (table_.losses.total() != 0) {
      std::string causes;
      for (const auto& [cause, events] : named_losses(table_.losses))
        if (is_lost(cause)) causes += (causes.empty() ? "" : ", ") + cause + " " + format_count(events);
      lines.emplace_back();
      put(lines.back(), columns_, {"LOST", Role::warning});
      put(lines.back(), columns_,
          {"  " + format_count(table_.losses.total()) + " events not recorded (" + causes + ")", Role::normal});
    }
    if (!view_.live) return lines;  // there they are on standard error
    const size_t count = std::min(kMostWarnings, table_.warnings.size());
    for (size_t i = table_.warnings.size() - count; i < table_.warnings.size(); ++i) {
      lines.emplace_back();
      put(lines.back(), columns_, {sanitize(table_.warnings[i]), Role::warning});
    }
    return lines;
  }

  void keys() {
    line();
    const auto key = [&](const char* name, const std::string& meaning) {
      if (!lines_.back().spans.empty()) add("  ");
      add(name, Role::bold);
      add(" " + meaning, Role::dim);
    };
    key("h", "help");
    key("↑↓ Enter", "look into one");
    key("s", std::string("sort: ") + sort_name(view_.sort));
    key("p", view_.paused ? "resume" : "pause");
    key("q", "quit");
  }

  const ProcessTable& table_;
  ProcessView& view_;
  size_t columns_, rows_;
  std::vector<Line> lines_;
};

void select(ProcessView& view, const ProcessTable& table, long by) {
  const auto order = shown_processes(table, view);
  const long last = static_cast<long>(order.size()) - 1;
  view.selected = static_cast<size_t>(std::clamp(static_cast<long>(view.selected) + by, 0L, std::max(last, 0L)));
  view.selected_serial = order.empty() ? 0 : table.rows[order[view.selected]].serial;
}

}  // namespace

std::vector<size_t> shown_processes(const ProcessTable& table, const ProcessView& view) {
  std::vector<size_t> order(table.rows.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  const auto more = [&](const ProcessRow& a, const ProcessRow& b) {
    switch (view.sort) {
      case ProcessSort::blocked:
        return a.blocked_ns > b.blocked_ns;
      case ProcessSort::waits:
        return a.waits > b.waits;
      case ProcessSort::kernel:
        return a.kernel_ns > b.kernel_ns;
      case ProcessSort::queue:
        return a.queue > b.queue;
      case ProcessSort::fibers:
        return a.fibers.value_or(0) > b.fibers.value_or(0);
      case ProcessSort::name:
        return a.name < b.name;
    }
    return false;
  };
  // Those that have ended last; equal ones in the order in which they came.
  std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) {
    const ProcessRow &a = table.rows[x], &b = table.rows[y];
    if (a.ended != b.ended) return b.ended;
    return more(a, b);
  });
  return order;
}

std::vector<Line> process_layout(const ProcessTable& table, ProcessView& view, size_t columns, size_t rows) {
  return Layout(table, view, columns, rows).run();
}

std::vector<Line> process_help(size_t columns, size_t rows) {
  static constexpr HelpEntry kEntries[] = {
      {"fiberprof top -a", ""},
      {"", ""},
      {"↑ ↓  k j", "choose a process; PgUp PgDn Home End too"},
      {"Enter  →", "look into it; q there comes back"},
      {"s  F6", "sort by blocked, waits, kernel, queue, fibers, name"},
      {"p  space", "pause; what happens meanwhile is not lost"},
      {"q  Ctrl-C", "quit"},
      {"", ""},
      {"blocked/s", "time its fibers were blocked per second"},
      {"queued", "part of that after the wake-up, in a run queue"},
      {"queue", "mean number of runnable fibers, all processors together"},
      {"kernel/s", "time a fiber held a worker that the kernel had stopped"},
      {"ended", "grey, and gone after 5 seconds"},
      {"", ""},
      {"any key goes back", ""},
  };
  return help_lines(kEntries, columns, rows);
}

std::string process_json(const ProcessTable& table) {
  using nlohmann::ordered_json;
  ordered_json out = {{"tier", table.exact ? "exact" : "sampled"},
                      {"interval_ns", table.interval_ns},
                      {"watched_ns", table.watched_ns},
                      {"running", table.running},
                      {"ended", table.ended}};
  ordered_json& programs = out["programs"] = ordered_json::array();
  for (const size_t i : shown_processes(table, {})) {
    const ProcessRow& row = table.rows[i];
    programs.push_back({{"pid", row.pid},
                        {"process", sanitize(row.name)},
                        {"ended", row.ended},
                        {"fibers", row.fibers ? ordered_json(*row.fibers) : ordered_json(nullptr)},
                        {"fibers_age_ns", row.fibers ? ordered_json(row.fibers_age_ns) : ordered_json(nullptr)},
                        {"blocked_ns", row.blocked_ns},
                        {"queued_ns", row.queued_ns},
                        {"waits", row.waits},
                        {"queue", row.queue},
                        {"kernel_ns", row.kernel_ns}});
  }
  ordered_json& losses = out["losses"] = {{"total", table.losses.total()}};
  for (const auto& [cause, count] : named_losses(table.losses)) losses[cause] = count;
  return out.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

ProcessAction apply_key(ProcessView& view, const KeyPress& press, const ProcessTable& table, size_t rows) {
  if (press.key == Key::resize) return ProcessAction::none;
  if (view.help) {
    view.help = false;
    return press.key == Key::text && press.text == "q" ? ProcessAction::quit : ProcessAction::none;
  }
  const auto page = static_cast<long>(rows / 2);
  const auto end = static_cast<long>(table.rows.size());
  switch (press.key) {
    case Key::text:
      if (press.text == "q") return ProcessAction::quit;
      if (press.text == "h" || press.text == "?") view.help = true;
      if (press.text == "p" || press.text == " ") view.paused = !view.paused;
      if (press.text == "s") view.sort = static_cast<ProcessSort>((static_cast<int>(view.sort) + 1) % 6);
      if (press.text == "k") select(view, table, -1);
      if (press.text == "j") select(view, table, 1);
      break;
    case Key::f1:
      view.help = true;
      break;
    case Key::f6:
      view.sort = static_cast<ProcessSort>((static_cast<int>(view.sort) + 1) % 6);
      break;
    case Key::enter:
    case Key::right:
      select(view, table, 0);
      return view.selected_serial == 0 ? ProcessAction::none : ProcessAction::open;
    case Key::up:
      select(view, table, -1);
      break;
    case Key::down:
      select(view, table, 1);
      break;
    case Key::page_up:
      select(view, table, -page);
      break;
    case Key::page_down:
      select(view, table, page);
      break;
    case Key::home:
      select(view, table, -end);
      break;
    case Key::end:
      select(view, table, end);
      break;
    default:
      break;
  }
  return ProcessAction::none;
}

}  // namespace fiberprof
