// SPDX-License-Identifier: BSD-2-Clause
#include "cli/top.h"

#include <unistd.h>

#include <algorithm>
#include <iostream>
#include <memory>

#include "cli/filters.h"
#include "cli/options.h"
#include "cli/top_loop.h"
#include "cli/top_system.h"
#include "cli/top_watch.h"
#include "render/palette.h"
#include "render/top_keys.h"
#include "render/top_screen.h"
#include "render/top_text.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kTextStacks = 10;  // in plain text
constexpr size_t kJsonStacks = 20;
constexpr size_t kTextRows = 64;
constexpr size_t kExpandedOnce = 3;  // --once shows the frames of the first ones: nobody can press Enter

struct Options {
  std::string target;
  uint64_t interval_ns = 1'000'000'000;
  uint64_t duration_ns = 0;
  TopSort sort = TopSort::total;
  std::optional<size_t> rows;
  bool once = false, json = false, exact = false, all_frames = false, all = false;
  WaitFilter filter;
};

class Top {
 public:
  Top(const Options& options, TopSource& watch, Signals& signals, Beat beat)
      : options_(options), watch_(watch), signals_(signals), beat_(beat) {
    state_.view.sort = options.sort;
    state_.view.period_ns = options.interval_ns;
  }

  Result<void> text() {
    const Style style(!options_.json && use_colour(STDOUT_FILENO));
    bool first = true;
    for (;;) {
      const bool last = wait(beat_.next()) || options_.once || beat_.over() || !watch_.alive();
      if (const Result<void> read = watch_.refresh(); !read) return read;
      TopModel model = watch_.model(TopBuilder::Group::stack, false);
      if (!print((first || options_.json ? "" : "\n") +
                 (options_.json ? top_json(model, options_.rows.value_or(kJsonStacks)) : lines(model, style)))) {
        return {};
      }
      first = false;
      if (last) return {};
    }
  }

  // Until a key ends it or the time is over.
  Result<void> live(Screen& screen) {
    state_.view.live = true;
    bool ended = false;
    for (;;) {
      if (!ended) {
        ended = !watch_.alive();
        if (const Result<void> read = watch_.refresh(); !read) return read;
        if (!state_.view.paused) model_ = watch_.model(state_.view.group, state_.since_start);
      }
      // What has ended stays on the screen until somebody has read it.
      const uint64_t until = ended ? beat_.end() : beat_.next();
      if (interact(screen, until) || beat_.over()) return {};
    }
  }

 private:
  Woke sleep(uint64_t until, bool keys) {
    for (;;) {
      const Woke woke = sleep_until(until, signals_, keys, watch_.fds());
      if (woke != Woke::source || watch_.woken()) return woke;
    }
  }

  // Text mode: true when asked to end.
  bool wait(uint64_t until) {
    for (;;) {
      switch (sleep(until, false)) {
        case Woke::signal:
          if (signals_.read()) return true;
          break;
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
    state_.view.most_stacks = options_.rows.value_or(kTextStacks);
    return top_text(top_layout(shown, state_.view, terminal_columns(STDOUT_FILENO, 100), kTextRows), style);
  }

  // Draws and takes keys until the time is over, the process has ended (and had not before) or a key needs a new
  // model. True: quit.
  bool interact(Screen& screen, uint64_t until) {
    for (;;) {
      if (state_.help) {
        screen.draw(top_help(screen.columns(), screen.rows()), -1);
      } else {
        const std::vector<Line> laid_out = top_layout(model_, state_.view, screen.columns(), screen.rows());
        screen.draw(laid_out, static_cast<int>(state_.view.selected));
      }
      switch (sleep(until, true)) {
        case Woke::time:
        case Woke::source:
          return false;
        case Woke::signal:
          if (signals_.read()) return true;
          screen.resize();
          break;
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
          if (terminal_is_gone()) return true;
      }
    }
  }

  const Options& options_;
  TopSource& watch_;
  Signals& signals_;
  Beat beat_;
  TopState state_;
  TopModel model_;
};

// The table of all programs, and the way into each.
class TopAll {
 public:
  TopAll(const Options& options, TopSystem& system, Signals& signals)
      : options_(options), system_(system), signals_(signals), beat_(options.interval_ns, options.duration_ns) {}

  Result<void> text() {
    const Style style(!options_.json && use_colour(STDOUT_FILENO));
    for (bool first = true, last = false; !last; first = false) {
      last = sleep(beat_.next(), false) == Woke::signal || options_.once || beat_.over();
      if (const Result<void> read = system_.refresh(); !read) return read;
      tell();
      const auto lines = [&] {
        return top_text(process_layout(system_.table(), view_, terminal_columns(STDOUT_FILENO, 100), SIZE_MAX), style);
      };
      if (!print(options_.json ? process_json(system_.table()) : (first ? "" : "\n") + lines())) return {};
    }
    return {};
  }

  Result<void> live(Screen& screen) {
    view_.live = true;
    for (;;) {
      if (const Result<void> read = system_.refresh(); !read) return read;
      if (!view_.paused) table_ = system_.table();
      const uint64_t until = beat_.next();
      switch (interact(screen, until)) {
        case ProcessAction::quit:
          return {};
        case ProcessAction::open:
          if (const auto source = system_.look_into(view_.selected_serial)) {
            Top one(options_, *source, signals_, beat_);
            if (const Result<void> done = one.live(screen); !done) return done;
          }
          if (signals_.asked_to_end() || terminal_is_gone()) return {};
          break;
        case ProcessAction::none:
          break;
      }
      if (beat_.over()) return {};
    }
  }

  // Without a screen, or when it has gone.
  void tell() {
    for (const std::string& warning : system_.take_warnings()) std::cerr << "fiberprof: " << sanitize(warning) << '\n';
  }

 private:
  Woke sleep(uint64_t until, bool keys) {
    for (;;) {
      const Woke woke = sleep_until(until, signals_, keys, {system_.fd()});
      if (woke == Woke::source) {
        system_.update();
        continue;
      }
      if (woke == Woke::signal && !signals_.read()) {
        if (keys) return woke;  // another size
        continue;
      }
      return woke;
    }
  }

  ProcessAction interact(Screen& screen, uint64_t until) {
    for (;;) {
      if (view_.help)
        screen.draw(process_help(screen.columns(), screen.rows()), -1);
      else
        screen.draw(process_layout(table_, view_, screen.columns(), screen.rows()), static_cast<int>(view_.selected));
      switch (sleep(until, true)) {
        case Woke::time:
        case Woke::source:
          return ProcessAction::none;
        case Woke::signal:
          if (signals_.asked_to_end()) return ProcessAction::quit;
          screen.resize();
          break;
        case Woke::key:
          while (const std::optional<KeyPress> press = screen.key())
            if (const ProcessAction action = apply_key(view_, *press, table_, screen.rows());
                action != ProcessAction::none)
              return action;
          if (terminal_is_gone()) return ProcessAction::quit;
      }
    }
  }

  const Options& options_;
  TopSystem& system_;
  Signals& signals_;
  Beat beat_;
  ProcessView view_;
  ProcessTable table_;
};

bool is_live(const Options& options) {
  return !options.once && !options.json && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
}

// `view.live()` on a screen of its own, or `view.text()`.
template <class View>
Result<void> show(View& view, bool live) {
  if (!live) return view.text();
  Result<std::unique_ptr<Screen>> screen = Screen::open(use_colour(STDOUT_FILENO));
  if (!screen) return tl::unexpected(screen.error());
  return view.live(**screen);
}

int top_all(const Options& options, SessionOptions session) {
  Signals signals;
  auto system = TopSystem::start(std::move(session), options.all_frames);
  if (!system) return print_error(system.error());
  TopAll view(options, **system, signals);
  const Result<void> done = show(view, is_live(options));
  view.tell();
  return done ? static_cast<int>(ExitCode::ok) : print_error(done.error());
}

int top(const Options& options) {
  SessionOptions session;
  session.tier = options.exact ? Tier::exact : Tier::sampled;
  if (const Result<void> applied = apply(options.filter, session); !applied) return print_error(applied.error());
  if (options.all) return top_all(options, std::move(session));
  Signals signals;
  Result<std::unique_ptr<TopWatch>> watch = TopWatch::start(options.target, std::move(session), options.all_frames);
  if (!watch) return print_error(watch.error());
  const bool live = is_live(options);
  if (!live) {
    for (const std::string& warning : (*watch)->warnings()) std::cerr << "fiberprof: " << sanitize(warning) << '\n';
  }
  Top view(options, **watch, signals, Beat(options.interval_ns, options.duration_ns));
  const Result<void> done = show(view, live);
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
  command->add_flag("-a,--all", options->all,
                    "All programs on fibers of the machine, those that start later and in containers too: a row for "
                    "each process, Enter looks into one.");
  add_duration(*command, "-i,--interval", options->interval_ns, "Time between two refreshes. Default 1s.");
  add_duration(*command, "-d,--duration", options->duration_ns, "End after this time. Default: when asked to.");
  add_choice<TopSort>(
      *command, "--sort", options->sort,
      {{"total", TopSort::total}, {"count", TopSort::count}, {"max", TopSort::max}, {"name", TopSort::name}},
      "Order of the stacks: by time blocked (default), number of waits, longest wait or name.");
  command->add_option("-n,--rows", options->rows, "Stacks to print. Default 10, in JSON 20. The screen shows all.")
      ->option_text("N");
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
    if (options->all && !options->target.empty()) throw CLI::ValidationError("-a", "takes no process");
    action = [options] { return top(*options); };
  });
}

}  // namespace fiberprof
