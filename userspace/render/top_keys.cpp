// SPDX-License-Identifier: BSD-2-Clause
#include "render/top_keys.h"

#include <algorithm>

#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kMaxFilter = 64;

void remember(TopView& view, const TopModel& model) {
  const std::vector<size_t> order = shown_stacks(model, view);
  view.selected_key = view.selected < order.size() ? model.stacks[order[view.selected]].key : 0;
}

// Back to the first row, whichever stack that will be.
void to_the_top(TopView& view) {
  view.selected = view.first = 0;
  view.selected_key = 0;
}

void edit_filter(TopView& view, const KeyPress& press) {
  switch (press.key) {
    case Key::enter:
      view.searching = false;
      break;
    case Key::escape:
      view.searching = false;
      view.filter.clear();
      break;
    case Key::erase:
      // One character: its continuation bytes first.
      while (!view.filter.empty() && (view.filter.back() & 0xc0) == 0x80) view.filter.pop_back();
      if (!view.filter.empty()) view.filter.pop_back();
      break;
    case Key::text:
      if (view.filter.size() < kMaxFilter) view.filter += sanitize(press.text);
      break;
    default:
      break;
  }
  to_the_top(view);
}

void expand(TopState& state, const TopModel& model, bool open, bool toggle) {
  const std::vector<size_t> order = shown_stacks(model, state.view);
  if (state.view.selected >= order.size()) return;
  const uint64_t key = model.stacks[order[state.view.selected]].key;
  const bool is_open = state.view.expanded.count(key) != 0;
  state.view.selected_key = key;
  if (toggle ? is_open : !open) {
    state.view.expanded.erase(key);
  } else {
    state.view.expanded.insert(key);
  }
}

void select(TopView& view, const TopModel& model, long by) {
  const long last = static_cast<long>(shown_stacks(model, view).size()) - 1;
  view.selected = static_cast<size_t>(std::clamp(static_cast<long>(view.selected) + by, 0L, std::max(last, 0L)));
  remember(view, model);
}

TopAction letter(TopState& state, const std::string& text, const TopModel& model) {
  if (text == "q") return TopAction::quit;
  if (text == "h" || text == "?") state.help = true;
  if (text == "p" || text == " ") state.view.paused = !state.view.paused;
  if (text == "/") {
    state.view.searching = true;
    state.view.filter.clear();
  }
  if (text == "s") state.view.sort = static_cast<TopSort>((static_cast<int>(state.view.sort) + 1) % 4);
  if (text == "k") select(state.view, model, -1);
  if (text == "j") select(state.view, model, 1);
  if (text == "r") return TopAction::reset;
  if (text == "c") {
    state.since_start = !state.since_start;
    return TopAction::rebuild;
  }
  return TopAction::none;
}

}  // namespace

TopAction apply_key(TopState& state, const KeyPress& press, const TopModel& model, size_t rows) {
  TopView& view = state.view;
  if (press.key == Key::resize) return TopAction::none;
  if (state.help) {
    state.help = false;
    return press.key == Key::text && press.text == "q" ? TopAction::quit : TopAction::none;
  }
  if (view.searching) {
    edit_filter(view, press);
    return TopAction::none;
  }
  const auto page = static_cast<long>(rows / 2);
  switch (press.key) {
    case Key::text:
      return letter(state, press.text, model);
    case Key::enter:
      expand(state, model, true, true);
      break;
    case Key::right:
      expand(state, model, true, false);
      break;
    case Key::left:
      expand(state, model, false, false);
      break;
    case Key::up:
      select(view, model, -1);
      break;
    case Key::down:
      select(view, model, 1);
      break;
    case Key::page_up:
      select(view, model, -page);
      break;
    case Key::page_down:
      select(view, model, page);
      break;
    case Key::home:
      to_the_top(view);
      break;
    case Key::end:
      select(view, model, static_cast<long>(model.stacks.size()));
      break;
    case Key::f1:
      state.help = true;
      break;
    case Key::f6:
      return letter(state, "s", model);
    case Key::f5:
      view.group = view.group == TopBuilder::Group::stack ? TopBuilder::Group::reason : TopBuilder::Group::stack;
      to_the_top(view);
      return TopAction::rebuild;
    case Key::escape:
      view.filter.clear();
      view.expanded.clear();
      break;
    case Key::erase:
    case Key::resize:
      break;
  }
  return TopAction::none;
}

}  // namespace fiberprof
