// SPDX-License-Identifier: BSD-2-Clause
// A TopModel laid out as lines of styled text for a given size. The live screen and the plain text draw the same lines.
#pragma once

#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "render/top_model.h"

namespace fiberprof {

enum class Role : uint8_t { normal, bold, dim, heading, warning, reason, bar };

struct Span {
  std::string text;  // sanitized
  Role role = Role::normal;
  std::string reason = {};  // for Role::reason: gives the colour
};

struct Line {
  std::vector<Span> spans;
  int stack = -1;  // index into TopView::order of the stack this line stands for, or -1
  size_t width() const;
  std::string text() const;
};

enum class TopSort : uint8_t { total, count, max, name };

// What the person looking has chosen.
struct TopView {
  TopSort sort = TopSort::total;
  TopBuilder::Group group = TopBuilder::Group::stack;
  std::string filter;           // shows only stacks whose function names or reason contain it, ignoring case
  std::set<uint64_t> expanded;  // keys of stacks shown with all their frames
  size_t selected = 0;          // index into the shown stacks
  uint64_t selected_key = 0;    // of that stack: it stays selected when the order changes; 0: the index counts
  size_t first = 0;             // of the shown stacks: scrolled past
  size_t most_stacks = SIZE_MAX;
  bool live = false;  // a screen with keys: selection and key line
  bool paused = false;
  bool searching = false;  // the filter is being typed
  uint64_t period_ns = 0;
};

// The function that stands for a stack; empty without frames.
std::string where_of(const TopStack& stack);

// Indices into model.stacks that the view shows, in its order.
std::vector<size_t> shown_stacks(const TopModel& model, const TopView& view);

// At most `rows` lines of at most `columns` columns. In a live view exactly `rows` lines, the last the keys; `view` is
// adjusted so that the selection exists and is visible.
std::vector<Line> top_layout(const TopModel& model, TopView& view, size_t columns, size_t rows);

// The help screen of the live view.
std::vector<Line> top_help(size_t columns, size_t rows);

}  // namespace fiberprof
