// SPDX-License-Identifier: BSD-2-Clause
// What of a model a view shows, and in which order; its help screen.
#include <algorithm>
#include <cctype>

#include "render/help_lines.h"
#include "render/stack_view.h"
#include "render/table.h"
#include "render/top_layout.h"
#include "support/text.h"

namespace fiberprof {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

}  // namespace

size_t Line::width() const {
  size_t sum = 0;
  for (const Span& span : spans) sum += display_width(span.text);
  return sum;
}

std::string Line::text() const {
  std::string all;
  for (const Span& span : spans) all += span.text;
  all.erase(all.find_last_not_of(' ') + 1);
  return all;
}

std::string where_of(const TopStack& stack) {
  const ShownStack& shown = *stack.shown;
  if (shown.frames.empty()) return "";
  return display_name(shown.frames[std::min(shown.culprit, shown.frames.size() - 1)]->function);
}

std::vector<size_t> shown_stacks(const TopModel& model, const TopView& view) {
  const std::string wanted = lower(view.filter);
  const auto matches = [&](const TopStack& stack) {
    if (wanted.empty() || lower(stack.reason).find(wanted) != std::string::npos) return true;
    return std::any_of(stack.shown->frames.begin(), stack.shown->frames.end(),
                       [&](const auto& frame) { return lower(frame->function).find(wanted) != std::string::npos; });
  };
  std::vector<size_t> order;
  for (size_t i = 0; i < model.stacks.size(); ++i) {
    if (matches(model.stacks[i])) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const TopStack &x = model.stacks[a], &y = model.stacks[b];
    switch (view.sort) {
      case TopSort::total:
        return x.total_ns > y.total_ns;
      case TopSort::count:
        return x.count > y.count;
      case TopSort::max:
        return x.max_ns > y.max_ns;
      case TopSort::name:
        return where_of(x) < where_of(y);
    }
    return false;
  });
  return order;
}

std::vector<Line> top_help(size_t columns, size_t rows) {
  static constexpr HelpEntry kEntries[] = {
      {"fiberprof top", ""},
      {"", ""},
      {"↑ ↓  k j", "choose a stack; PgUp PgDn Home End too"},
      {"Enter → ←", "show or hide its frames"},
      {"/", "search: only stacks with these letters; Esc shows all"},
      {"s  F6", "sort by total, waits, max, name"},
      {"F5", "group by stack or by reason"},
      {"c", "numbers of the last interval, or since the start"},
      {"r", "start counting anew"},
      {"p  space", "pause; what happens meanwhile is not lost"},
      {"q  Ctrl-C", "quit"},
      {"", ""},
      {"total/s", "time fibers were blocked per second: 8s/s is 8 fibers on average"},
      {"mean max", "of one wait; max since the start"},
      {"queued", "part of a wait after its wake-up, in a run queue"},
      {"FIBERS", "by state; parked by reason, up to the longest so far; counted when"},
      {"TIME", "what fibers spent it on, by the function they were spawned as"},
      {"QUEUES", "mean depth per interval, with its past; idle: share of time"},
      {"KERNEL", "a fiber held a worker thread that the kernel stopped"},
      {"", ""},
      {"any key goes back", ""},
  };
  return help_lines(kEntries, columns, rows);
}

}  // namespace fiberprof
