// SPDX-License-Identifier: BSD-2-Clause
// The screen on a real pseudo-terminal: what it draws, and that the terminal is given back however the program ends.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include <functional>

#include "render/top_screen.h"

namespace fiberprof {
namespace {

using testing::HasSubstr;

struct Played {
  std::string output;
  int status = 0;
  termios modes{};  // of the terminal afterwards
};

// Runs `play` in a child whose terminal is a new pseudo-terminal of 80x24; `keys` are typed into it.
Played on_terminal(const std::function<int()>& play, const std::string& keys = "") {
  Played result;
  winsize size{};
  size.ws_col = 80;
  size.ws_row = 24;
  int master = -1, slave = -1;
  if (openpty(&master, &slave, nullptr, nullptr, &size) != 0) return result;
  const pid_t child = fork();
  if (child == 0) {
    close(master);
    login_tty(dup(slave));
    close(slave);
    setenv("TERM", "xterm-256color", 1);
    unsetenv("NO_COLOR");
    const rlimit no_core{};
    setrlimit(RLIMIT_CORE, &no_core);
    _exit(play());
  }
  [[maybe_unused]] const ssize_t typed = write(master, keys.data(), keys.size());
  // `slave` stays open here, so that the terminal's modes can be read after the child has ended.
  bool ended = false;
  for (;;) {
    pollfd ready = {master, POLLIN, 0};
    if (poll(&ready, 1, ended ? 0 : 20) > 0 && (ready.revents & POLLIN) != 0) {
      char step[4096];
      const ssize_t got = read(master, step, sizeof step);
      if (got > 0) result.output.append(step, static_cast<size_t>(got));
      continue;
    }
    if (ended) break;
    ended = waitpid(child, &result.status, WNOHANG) == child;
  }
  tcgetattr(slave, &result.modes);
  close(slave);
  close(master);
  return result;
}

std::vector<Line> hello() {
  Line line;
  line.spans = {{"hello ", Role::bold, ""}, {"mutex", Role::reason, "mutex"}, {" ▁▂▃", Role::bar, ""}};
  line.stack = 0;
  return {line};
}

int draw_and(const std::function<int(Screen&)>& end) {
  Result<std::unique_ptr<Screen>> screen = Screen::open(true);
  if (!screen) return 9;
  (*screen)->draw(hello(), 0);
  return end(**screen);
}

void expect_restored(const Played& played) {
  EXPECT_THAT(played.output, HasSubstr("\x1b[?1049h"));  // the alternate screen
  EXPECT_THAT(played.output, HasSubstr("hello"));
  EXPECT_GT(played.output.rfind("\x1b[?1049l") + 1, played.output.rfind("\x1b[?1049h") + 1);
  EXPECT_GT(played.output.rfind("\x1b[?25h") + 1, played.output.rfind("\x1b[?25l") + 1);  // the cursor
  EXPECT_NE(played.modes.c_lflag & ECHO, 0U);
  EXPECT_NE(played.modes.c_lflag & ICANON, 0U);
}

TEST(Screen, DrawsAndGivesTheTerminalBack) {
  const Played played = on_terminal(
      [] { return draw_and([](Screen& screen) { return screen.columns() == 80 && screen.rows() == 24 ? 0 : 1; }); });
  EXPECT_EQ(played.status, 0);
  EXPECT_THAT(played.output, HasSubstr("▁▂▃"));
  expect_restored(played);
}

TEST(Screen, GivesTheTerminalBackWhenTheProgramCrashes) {
  for (const int fatal : {SIGSEGV, SIGABRT, SIGQUIT}) {
    const Played played = on_terminal([&] { return draw_and([&](Screen&) { return raise(fatal); }); });
    EXPECT_TRUE(WIFSIGNALED(played.status) && WTERMSIG(played.status) == fatal) << fatal;
    expect_restored(played);
  }
}

TEST(Screen, ReadsKeysAndLettersOfAnyScript) {
  const Played played = on_terminal(
      [] {
        return draw_and([](Screen& screen) {
          std::vector<KeyPress> seen;
          while (seen.size() < 4) {
            pollfd input = {STDIN_FILENO, POLLIN, 0};
            if (poll(&input, 1, 10'000) <= 0) return 2;
            while (const std::optional<KeyPress> press = screen.key()) seen.push_back(*press);
          }
          return seen[0].text == "q" && seen[1].text == "é" && seen[2].key == Key::up && seen[3].key == Key::enter ? 0
                                                                                                                   : 1;
        });
      },
      "qé\x1bOA\r");
  EXPECT_EQ(WEXITSTATUS(played.status), 0);
}

TEST(Screen, UnknownTerminalIsAnError) {
  const Played played = on_terminal([] {
    setenv("TERM", "no-such-terminal", 1);
    return draw_and([](Screen&) { return 0; });
  });
  EXPECT_EQ(WEXITSTATUS(played.status), 9);
}

}  // namespace
}  // namespace fiberprof
