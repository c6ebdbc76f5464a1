// SPDX-License-Identifier: BSD-2-Clause
#include "cli/top.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "cli/filters.h"
#include "cli/options.h"
#include "cli/top_watch.h"
#include "render/palette.h"
#include "render/top_keys.h"
#include "render/top_screen.h"
#include "render/top_text.h"
#include "support/text.h"
#include "support/unique_fd.h"

namespace fiberprof {
namespace {

constexpr size_t kTextStacks = 10;  // in plain text
constexpr size_t kTextRows = 64;
constexpr size_t kExpandedOnce = 3;  // --once shows the frames of the first ones: nobody can press Enter

struct Options {
  std::string target;
  uint64_t interval_ns = 1'000'000'000;
  uint64_t duration_ns = 0;
  TopSort sort = TopSort::total;
  bool once = false, json = false, exact = false, all_frames = false;
  WaitFilter filter;
};

uint64_t now_ns() {
  timespec time{};
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

// Signals as something to poll: no work is ever done inside a handler.
class Signals {
 public:
  Signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (const int each : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) ::sigaddset(&set, each);
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    fd_ = UniqueFd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    ::signal(SIGPIPE, SIG_IGN);  // `top | head` ends by a failed write, so that the probes come out in order
  }
  int fd() const { return fd_.get(); }
  // True when asked to end. `resized` is set when the terminal has a new size.
  bool read(bool& resized) {
    signalfd_siginfo info{};
    bool end = false;
    while (::read(fd_.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGWINCH) {
        resized = true;
      } else {
        end = true;
      }
    }
    return end;
  }

 private:
  UniqueFd fd_;
};

class Top {
 public:
  Top(const Options& options, TopWatch& watch, Signals& signals)
      : options_(options), watch_(watch), signals_(signals), end_ns_(end()) {
    state_.view.sort = options.sort;
    state_.view.period_ns = options.interval_ns;
  }

  Result<void> text() {
    const Style style(!options_.json && use_colour(STDOUT_FILENO));
    bool first = true;
    for (;;) {
      const bool last = wait(next()) || options_.once || now_ns() >= end_ns_ || !watch_.alive();
      if (const Result<void> read = watch_.refresh(); !read) return read;
      TopModel model = watch_.model(TopBuilder::Group::stack, false);
      if (!print((first || options_.json ? "" : "\n") + (options_.json ? top_json(model, 100) : lines(model, style)))) {
        return {};
      }
      first = false;
      if (last) return {};
    }
  }

  Result<void> live() {
    Result<std::unique_ptr<Screen>> screen = Screen::open(use_colour(STDOUT_FILENO));
    if (!screen) return tl::unexpected(screen.error());
    state_.view.live = true;
    bool ended = false;
    for (;;) {
      if (!ended) {
        ended = !watch_.alive();
        if (const Result<void> read = watch_.refresh(); !read) return read;
        if (!state_.view.paused) model_ = watch_.model(state_.view.group, state_.since_start);
      }
      // What has ended stays on the screen until somebody has read it.
      const uint64_t until = ended ? end_ns_ : std::min(next(), end_ns_);
      if (interact(**screen, until, ended) || now_ns() >= end_ns_) return {};
    }
  }

 private:
  uint64_t end() const { return options_.duration_ns == 0 ? UINT64_MAX : now_ns() + options_.duration_ns; }
  uint64_t next() {
    const uint64_t now = now_ns();
    // A steady beat; a refresh that came late skips what it missed.
    next_ns_ = next_ns_ + options_.interval_ns > now ? next_ns_ + options_.interval_ns : now + options_.interval_ns;
    return std::min(next_ns_, end_ns_);
  }

  // Sleeps until the time, a signal, a key or the end of the process. Returns which came.
  enum class Woke { time, signal, key, process };
  Woke sleep(uint64_t until, bool keys, bool watch_process) {
    for (;;) {
      std::vector<pollfd> fds = {{signals_.fd(), POLLIN, 0}};
      if (keys) fds.push_back({STDIN_FILENO, POLLIN, 0});
      if (watch_process) {
        for (const int fd : watch_.pidfds()) fds.push_back({fd, POLLIN, 0});
      }
      const uint64_t now = now_ns();
      if (now >= until) return Woke::time;
      const uint64_t left = std::min<uint64_t>(until - now, 3'600'000'000'000);
      const timespec timeout = {static_cast<time_t>(left / 1'000'000'000), static_cast<long>(left % 1'000'000'000)};
      if (::ppoll(fds.data(), fds.size(), &timeout, nullptr) <= 0) continue;
      if (fds[0].revents != 0) return Woke::signal;
      if (keys && fds[1].revents != 0) return Woke::key;
      return Woke::process;
    }
  }

  // Text mode: true when asked to end.
  bool wait(uint64_t until) {
    for (;;) {
      switch (sleep(until, false, true)) {
        case Woke::signal: {
          bool resized = false;
          if (signals_.read(resized)) return true;
          break;
        }
        default:
          return false;
      }
    }
  }

  std::string lines(const TopModel& model, const Style& style) {
    TopModel shown = model;
    if (options_.once) {
      const std::vector<size_t> order = shown_stacks(shown, state_.view);
      for (size_t i = 0; i < order.size() && i < kExpandedOnce; ++i) {
        state_.view.expanded.insert(shown.stacks[order[i]].key);
      }
    }
    state_.view.most_stacks = kTextStacks;
    return top_text(top_layout(shown, state_.view, terminal_columns(STDOUT_FILENO, 100), kTextRows), style);
  }

  // Draws and takes keys until the time is over, the process has ended (and had not before) or a key needs a new
  // model. True: quit.
  bool interact(Screen& screen, uint64_t until, bool ended) {
    for (;;) {
      if (state_.help) {
        screen.draw(top_help(screen.columns(), screen.rows()), -1);
      } else {
        const std::vector<Line> laid_out = top_layout(model_, state_.view, screen.columns(), screen.rows());
        screen.draw(laid_out, static_cast<int>(state_.view.selected));
      }
      switch (sleep(until, true, !ended)) {
        case Woke::time:
        case Woke::process:
          return false;
        case Woke::signal: {
          bool resized = false;
          if (signals_.read(resized)) return true;
          if (resized) screen.resize();
          break;
        }
        case Woke::key:
          while (const std::optional<KeyPress> press = screen.key()) {
            switch (apply_key(state_, *press, model_, screen.rows())) {
              case TopAction::none:
                break;
              case TopAction::quit:
                return true;
              case TopAction::reset:
                watch_.reset();
                [[fallthrough]];
              case TopAction::rebuild:
                model_ = watch_.model(state_.view.group, state_.since_start);
            }
          }
          if (::isatty(STDIN_FILENO) == 0 || hung_up()) return true;
      }
    }
  }

  static bool hung_up() {
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    return ::poll(&input, 1, 0) > 0 && (input.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
  }

  const Options& options_;
  TopWatch& watch_;
  Signals& signals_;
  TopState state_;
  TopModel model_;
  uint64_t next_ns_ = now_ns(), end_ns_;
};

int top(const Options& options) {
  SessionOptions session;
  session.tier = options.exact ? Tier::exact : Tier::sampled;
  if (const Result<void> applied = apply(options.filter, session); !applied) return print_error(applied.error());
  Signals signals;
  Result<std::unique_ptr<TopWatch>> watch = TopWatch::start(options.target, std::move(session), options.all_frames);
  if (!watch) return print_error(watch.error());
  const bool live = !options.once && !options.json && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  if (!live) {
    for (const std::string& warning : (*watch)->warnings()) std::cerr << "fiberprof: " << sanitize(warning) << '\n';
  }
  Top view(options, **watch, signals);
  const Result<void> done = live ? view.live() : view.text();
  if (!done) return print_error(done.error());
  if (!(*watch)->alive()) std::cerr << "fiberprof: " << sanitize((*watch)->name()) << " has ended\n";
  return static_cast<int>(ExitCode::ok);
}

}  // namespace

void add_top(CLI::App& app, std::function<int()>& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("top", "What the fibers of a running process wait for, live");
  command
      ->add_option("target", options->target,
                   "A process by its PID, or by its name or a part of it. Not needed when only one process on fibers "
                   "is running.")
      ->option_text("PID|NAME");
  add_duration(*command, "-i,--interval", options->interval_ns, "Time between two refreshes. Default 1s.");
  add_duration(*command, "-d,--duration", options->duration_ns, "End after this time. Default: when asked to.");
  add_choice<TopSort>(
      *command, "--sort", options->sort,
      {{"total", TopSort::total}, {"count", TopSort::count}, {"max", TopSort::max}, {"name", TopSort::name}},
      "Order of the stacks: by time blocked (default), number of waits, longest wait or name.");
  command->add_flag("--once", options->once, "One refresh as plain text, after one interval, with the first stacks.");
  command->add_flag("--json", options->json, "One JSON object a refresh, each on its line; times in nanoseconds.");
  command->add_flag("--exact", options->exact,
                    "Count every wait instead of a weighted sample of them. Costs the process far more.");
  add_wait_filter(*command, options->filter);
  command->add_flag("--all-frames", options->all_frames,
                    "Show the fiber runtime's own frames too. By default only the one the program called is shown.");
  command->footer(
      "Without a terminal, each refresh is plain text. Keys on the screen: h for\n"
      "help, arrows and Enter for a stack, / search, s sort, F5 group, p pause,\n"
      "c since start, r reset, q quit.\n"
      "\n"
      "Reading it:\n"
      "  total/s  time fibers were blocked per second; 8s/s is 8 fibers on average\n"
      "  mean     of the waits that ended in the interval; max since the start\n"
      "  queued   part of the waits after the wake-up, in a run queue: the CPUs\n"
      "           are the bottleneck, not the resource\n"
      "  FIBERS   states right now, from the process's registry; parked fibers by\n"
      "           reason, with the longest so far (from 1s)\n"
      "  QUEUES   mean number of runnable fibers per processor, its recent past,\n"
      "           and the share of time it had nothing to do\n"
      "  KERNEL   a fiber held its worker thread, but the kernel had stopped it:\n"
      "           preempted, page fault, futex (a mutex of the C library), disk\n"
      "\n"
      "OVERHEAD: by default waits are sampled in the process, a few nanoseconds\n"
      "each, and events are bounded whatever the load. With --exact every wait\n"
      "costs one to two microseconds. Off-CPU times cost below a microsecond per\n"
      "switch of a worker thread. The process is never stopped.");
  command->callback([options, &action] {
    if (options->interval_ns < 10'000'000) {
      throw CLI::ValidationError("--interval", "must be at least 10ms");
    }
    action = [options] { return top(*options); };
  });
}

}  // namespace fiberprof
