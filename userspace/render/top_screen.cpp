// SPDX-License-Identifier: BSD-2-Clause
#define NCURSES_WIDECHAR 1
#include "render/top_screen.h"

#include <langinfo.h>
#include <ncurses.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <term.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <clocale>
#include <cstring>
#include <cwchar>
#include <string_view>

#include "render/palette.h"

// term.h defines short lower-case macros that are words of ours.
#undef columns
#undef lines

namespace fiberprof {
namespace {

// For a crash: what puts the terminal back, prepared beforehand because a signal handler may not ask terminfo.
struct Rescue {
  std::array<char, 256> sequence{};
  size_t length = 0;
  termios modes{};
  bool active = false;
};
Rescue rescue;

constexpr std::array kFatal = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGQUIT};

extern "C" void restore_terminal(int signal_number) {
  if (rescue.active) {
    [[maybe_unused]] const ssize_t wrote = ::write(STDOUT_FILENO, rescue.sequence.data(), rescue.length);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &rescue.modes);
  }
  ::raise(signal_number);  // with the default action, by SA_RESETHAND
}

void add_capability(const char* name) {
  const char* text = ::tigetstr(const_cast<char*>(name));
  if (text == nullptr || text == reinterpret_cast<const char*>(-1)) return;
  for (; *text != '\0' && rescue.length < rescue.sequence.size(); ++text) rescue.sequence[rescue.length++] = *text;
}

void prepare_rescue() {
  rescue.length = 0;
  add_capability("sgr0");
  add_capability("cnorm");
  add_capability("rmkx");
  add_capability("rmcup");
  rescue.active = true;
  struct sigaction action {};
  action.sa_handler = restore_terminal;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int each : kFatal) ::sigaction(each, &action, nullptr);
}

std::string utf8(wchar_t letter) {
  std::array<char, 8> bytes{};
  std::mbstate_t state{};
  const size_t length = std::wcrtomb(bytes.data(), letter, &state);
  return length == static_cast<size_t>(-1) ? "" : std::string(bytes.data(), length);
}

}  // namespace

Result<std::unique_ptr<Screen>> Screen::open(bool colour) {
  std::setlocale(LC_CTYPE, "");
  // Names and bars are UTF-8, and so is every terminal of today, whatever LANG says.
  if (std::string_view(::nl_langinfo(CODESET)) != "UTF-8") std::setlocale(LC_CTYPE, "C.UTF-8");
  ::tcgetattr(STDIN_FILENO, &rescue.modes);
  if (::newterm(nullptr, stdout, stdin) == nullptr) {
    return fail("cannot use this terminal as a screen", "its type (TERM) is unknown",
                "set TERM, or use --once for plain text");
  }
  std::unique_ptr<Screen> screen(new Screen(colour));
  ::cbreak();
  ::noecho();
  ::nonl();
  ::keypad(stdscr, TRUE);
  ::nodelay(stdscr, TRUE);
  ::set_escdelay(25);
  ::curs_set(0);
  ::leaveok(stdscr, TRUE);
  if (colour && ::has_colors()) {
    ::start_color();
    ::use_default_colors();
  } else {
    screen->colour_ = false;
  }
  prepare_rescue();
  return screen;
}

Screen::~Screen() {
  rescue.active = false;
  for (const int each : kFatal) ::signal(each, SIG_DFL);
  ::endwin();
}

size_t Screen::columns() const { return static_cast<size_t>(getmaxx(stdscr)); }
size_t Screen::rows() const { return static_cast<size_t>(getmaxy(stdscr)); }

int Screen::attributes(const Span& span, bool selected) {
  const int base = selected ? static_cast<int>(A_REVERSE) : 0;
  const auto pair = [&](uint8_t wanted, short few) -> int {
    if (!colour_) return 0;
    const auto colour = COLORS >= 256 ? static_cast<short>(wanted) : few;
    for (const auto& [known, number] : pairs_) {
      if (known == colour) return static_cast<int>(COLOR_PAIR(number));
    }
    const auto number = static_cast<short>(pairs_.size() + 1);
    if (number >= COLOR_PAIRS || ::init_pair(number, colour, -1) == ERR) return 0;
    pairs_.emplace_back(static_cast<uint8_t>(colour), number);
    return static_cast<int>(COLOR_PAIR(number));
  };
  switch (span.role) {
    case Role::normal:
      return base;
    case Role::bold:
      return base | static_cast<int>(A_BOLD);
    case Role::dim:
      return base | (selected ? 0 : static_cast<int>(A_DIM));
    case Role::heading:
      return base | static_cast<int>(A_BOLD) | pair(75, COLOR_CYAN);
    case Role::warning:
      return base | static_cast<int>(A_BOLD) | pair(214, COLOR_YELLOW);
    case Role::bar:
      return base | pair(75, COLOR_CYAN);
    case Role::reason: {
      const Colour colour = reason_colour(span.reason);
      // With eight colours only the strongest channel can be told.
      const short few = colour.red > colour.green && colour.red > colour.blue ? COLOR_RED
                        : colour.green > colour.blue                          ? COLOR_GREEN
                                                                              : COLOR_BLUE;
      return base | pair(terminal_colour(colour), few);
    }
  }
  return base;
}

void Screen::draw(const std::vector<Line>& lines, int selected) {
  ::erase();
  const size_t height = rows();
  for (size_t row = 0; row < lines.size() && row < height; ++row) {
    const bool chosen = selected >= 0 && lines[row].stack == selected;
    ::move(static_cast<int>(row), 0);
    for (const Span& span : lines[row].spans) {
      ::attrset(static_cast<attr_t>(attributes(span, chosen)));
      ::addstr(span.text.c_str());
    }
    if (chosen) {
      ::attrset(A_REVERSE);
      for (size_t column = lines[row].width(); column < columns(); ++column) ::addch(' ');
    }
  }
  ::attrset(A_NORMAL);
  ::refresh();
}

std::optional<KeyPress> Screen::key() {
  wint_t code = 0;
  const int kind = ::get_wch(&code);
  if (kind == ERR) return std::nullopt;
  if (kind == KEY_CODE_YES) {
    switch (code) {
      case KEY_UP:
        return KeyPress{Key::up, ""};
      case KEY_DOWN:
        return KeyPress{Key::down, ""};
      case KEY_LEFT:
        return KeyPress{Key::left, ""};
      case KEY_RIGHT:
        return KeyPress{Key::right, ""};
      case KEY_PPAGE:
        return KeyPress{Key::page_up, ""};
      case KEY_NPAGE:
        return KeyPress{Key::page_down, ""};
      case KEY_HOME:
        return KeyPress{Key::home, ""};
      case KEY_END:
        return KeyPress{Key::end, ""};
      case KEY_ENTER:
        return KeyPress{Key::enter, ""};
      case KEY_BACKSPACE:
      case KEY_DC:
        return KeyPress{Key::erase, ""};
      case KEY_F(1):
        return KeyPress{Key::f1, ""};
      case KEY_F(5):
        return KeyPress{Key::f5, ""};
      case KEY_F(6):
        return KeyPress{Key::f6, ""};
      case KEY_RESIZE:
        return KeyPress{Key::resize, ""};
      default:
        return key();
    }
  }
  switch (code) {
    case '\r':
    case '\n':
      return KeyPress{Key::enter, ""};
    case 27:
      return KeyPress{Key::escape, ""};
    case 8:
    case 127:
      return KeyPress{Key::erase, ""};
    default:
      break;
  }
  if (code < 32) return key();
  return KeyPress{Key::text, utf8(static_cast<wchar_t>(code))};
}

void Screen::resize() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row != 0 && size.ws_col != 0) {
    ::resizeterm(size.ws_row, size.ws_col);
  }
  ::clearok(stdscr, TRUE);
}

}  // namespace fiberprof
