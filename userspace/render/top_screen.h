// SPDX-License-Identifier: BSD-2-Clause
// The terminal as a screen, through ncurses: draws laid-out lines, reads keys, and gives the terminal back however the
// program ends.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "render/top_layout.h"
#include "support/error.h"

namespace fiberprof {

enum class Key { text, enter, escape, erase, up, down, left, right, page_up, page_down, home, end, f1, f5, f6, resize };

struct KeyPress {
  Key key = Key::text;
  std::string text;  // Key::text: one character, UTF-8
};

// At most one at a time.
class Screen {
 public:
  // Takes over the terminal of stdin and stdout. Errors: not a terminal, unknown TERM.
  static Result<std::unique_ptr<Screen>> open(bool colour);
  ~Screen();
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  size_t columns() const;
  size_t rows() const;
  // Line i in row i. The line of stack `selected` is highlighted.
  void draw(const std::vector<Line>& lines, int selected);
  // The next key pressed, if any; never waits.
  std::optional<KeyPress> key();
  // After SIGWINCH: takes over the terminal's new size.
  void resize();

 private:
  explicit Screen(bool colour) : colour_(colour) {}
  int attributes(const Span& span, bool selected);
  bool colour_;
  std::vector<std::pair<uint8_t, short>> pairs_;  // terminal colour, ncurses pair
};

}  // namespace fiberprof
