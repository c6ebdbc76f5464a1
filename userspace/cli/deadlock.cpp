// SPDX-License-Identifier: BSD-2-Clause
#include "cli/deadlock.h"

#include <unistd.h>

#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "cli/options.h"
#include "cli/suspicious.h"
#include "cli/top_loop.h"
#include "deadlock/detect.h"
#include "dump/source.h"
#include "render/deadlock_view.h"
#include "render/stack_view.h"
#include "support/duration.h"
#include "support/text.h"
#include "symbol/runtime_names.h"

namespace fiberprof {
namespace {

struct Options {
  std::string target, core, executable, dot;
  bool json = false, all_frames = false, prove = false, watch = false, suspicious = false;
  uint64_t interval_ns = 1'000'000'000, duration_ns = 0, older_ns = 60'000'000'000;
  size_t memory_mib = 4096;
};

Result<void> check(const Options& options) {
  if (options.core.empty() == options.target.empty())
    return fail("bad command line", options.target.empty() ? "nothing to look at" : "a process and a core file at once",
                "name one: fiberprof deadlock PID, or fiberprof deadlock --core CORE", ExitCode::usage);
  if (options.core.empty() && !options.executable.empty())
    return fail("bad command line", "--exe goes with --core", "see fiberprof deadlock --help", ExitCode::usage);
  if (options.watch && !options.core.empty())
    return fail("bad command line", "a core file does not change: --watch goes with a process", "", ExitCode::usage);
  return {};
}

class Deadlock {
 public:
  Deadlock(const Options& options, DumpSource& source) : options_(options), source_(source) {
    names_.target = source.label();
    names_.stack = [this](const FiberInfo& fiber) {
      return source_.symbols->stack(source_.view->stack(fiber), !options_.all_frames, true);
    };
    names_.place = [this](uint64_t code) {
      const Frame& frame = own_frame(source_.symbols->resolve(code, true));
      const std::string where = frame.file.substr(frame.file.rfind('/') + 1);
      return display_name(frame.function) +
             (where.empty() ? "" : " " + sanitize(where) + ":" + std::to_string(frame.line));
    };
    if (options.suspicious) suspicions_.emplace(source, options.all_frames, options.older_ns);
  }

  int once() {
    if (suspicions_ && options_.duration_ns != 0 && !source_.core)
      if (const Result<void> looked = suspicions_->look_ahead(options_.duration_ns); !looked)
        return print_error(looked.error());
    const Result<Detection> detection = detect();
    if (!detection) return print_error(detection.error());
    if (suspicions_) suspicions_->look(*detection);
    const int code = show(*detection);
    if (options_.dot.empty()) return code;
    std::ofstream file(options_.dot);
    file << deadlock_dot(*detection, names_);
    if (!file.flush()) return print_error({"cannot write " + options_.dot, "", "", ExitCode::error});
    return code;
  }

  // Each finding once, as soon as it is there.
  int watch() {
    Signals signals;
    Beat beat(options_.interval_ns, options_.duration_ns);
    auto handle = ProcessHandle::open(source_.process.pid);
    if (!handle) return print_error(handle.error());
    bool found = false;
    while (handle->alive()) {
      Result<Detection> detection = detect();
      if (!detection) {
        if (!handle->alive()) break;
        return print_error(detection.error());
      }
      if (suspicions_) suspicions_->look(*detection);
      const bool news = leave_new(*detection), suspicious = suspicions_ && suspicions_->leave_new();
      if (news || suspicious) {
        found = found || news;
        show(*detection, news);
        std::fflush(stdout);
      }
      const uint64_t next = beat.next();
      if (beat.over() || (sleep_until(next, signals, false, {handle->fd()}) == Woke::signal && signals.read())) break;
    }
    return static_cast<int>(found ? ExitCode::finding : ExitCode::ok);
  }

 private:
  Result<Detection> detect() {
    const uint64_t limit = uint64_t{options_.memory_mib} << 20;
    if (source_.core) return detect_in_core(*source_.core, *source_.view, options_.prove, limit);
    const bool whole = options_.suspicious;
    return options_.prove ? detect_proved(source_.process.pid, *source_.view, limit, whole)
                          : detect_certain(*source_.view, whole);
  }

  // `verdict`: there is something to say about it, not only suspicions.
  int show(const Detection& detection, bool verdict = true) {
    source_.symbols->refresh();
    const Style style(use_colour(STDOUT_FILENO));
    const size_t columns = terminal_columns(STDOUT_FILENO, 100);
    if (options_.json) {
      const auto suspicious = suspicions_ ? suspicions_->json(detection) : nlohmann::ordered_json();
      print(deadlock_json(detection, names_, suspicions_ ? &suspicious : nullptr));
    } else {
      if (verdict) print(deadlock_text(detection, names_, style, columns));
      if (suspicions_) print(suspicions_->text(detection, style, columns));
    }
    if (detection.stopped_ns != 0)
      std::cerr << "fiberprof: the process stood still for " << format_duration(detection.stopped_ns) << "; "
                << (detection.copied >> 20) << " MiB copied, " << (detection.searched >> 20) << " MiB searched\n";
    if (!detection.inconclusive.empty())
      std::cerr << "fiberprof: inconclusive: " << sanitize(detection.inconclusive) << '\n';
    return static_cast<int>(detection.verdict.dead.empty() ? ExitCode::ok : ExitCode::finding);
  }

  // Takes away the causes that were shown before. False: none is left.
  bool leave_new(Detection& detection) {
    std::erase_if(detection.verdict.causes, [&](const DeadlockCause& cause) {
      std::set<uint64_t> ids;
      for (const size_t fiber : cause.fibers) ids.insert(detection.state.fibers[fiber].info.id);
      return !shown_.insert(std::move(ids)).second;
    });
    return !detection.verdict.causes.empty();
  }

  const Options& options_;
  DumpSource& source_;
  DeadlockNames names_;
  std::set<std::set<uint64_t>> shown_;
  std::optional<SuspicionReport> suspicions_;
};

int deadlock(const Options& options) {
  if (const Result<void> good = check(options); !good) return print_error(good.error());
  Result<DumpSource> source = options.core.empty()
                                  ? DumpSource::live(options.target)
                                  : DumpSource::from_core(options.core, options.executable, CoreGaps::fault);
  if (!source) return print_error(source.error());
  if (source->core)
    for (const std::string& text : source->core->remarks()) std::cerr << "fiberprof: " << sanitize(text) << '\n';
  Deadlock command(options, *source);
  return options.watch ? command.watch() : command.once();
}

}  // namespace

void add_deadlock(CLI::App& app, std::function<int()>& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("deadlock", "Which fibers will never run again, and why: proofs, no guesses");
  command->alias("cycles");
  command->add_option("target", options->target, "A process, by id or name.")->option_text("PID|NAME");
  command->add_option("--core", options->core, "A core file instead of a process.")->option_text("CORE");
  command
      ->add_option("--exe", options->executable,
                   "The program the core was taken of, when it is no longer where it was. It must be the same build.")
      ->option_text("FILE");
  command->add_flag("--prove", options->prove,
                    "Also search the program's memory for whoever could still end a wait. Stops it for milliseconds to "
                    "copy what it has in use, and searches while it goes on.");
  command->add_flag(
      "--suspicious", options->suspicious,
      "Also what looks wrong by age and count and may be right: old waits, cancelled contexts that are "
      "not heeded, fibers that outlive their parent, and fibers that spin: a thread that runs one which polls "
      "channels in vain is stopped twenty to a hundred times for microseconds, to see whether it does anything "
      "else. With -d or --watch also what grows without end.");
  add_duration(*command, "--older", options->older_ns, "With --suspicious: what counts as old. Default 1m.");
  add_count(*command, "--memory", options->memory_mib,
            "With --prove: how many MiB may be copied; more is inconclusive. Default 4096.");
  command->add_flag("--watch", options->watch,
                    "Look again and again, and show each finding once, until Ctrl-C or the process ends.");
  add_duration(*command, "-i,--interval", options->interval_ns, "With --watch: how often. Default 1s.");
  add_duration(*command, "-d,--duration", options->duration_ns,
               "With --watch: for how long. Default: for ever. With --suspicious alone: how long to look for growth.");
  command->add_flag("--json", options->json, "One JSON object; times in nanoseconds.");
  command->add_option("--dot", options->dot, "Also write who waits for whom to FILE, for Graphviz.")
      ->option_text("FILE");
  command->add_flag("--all-frames", options->all_frames,
                    "Show the frames of the fiber runtime too. By default only the function the program called is "
                    "shown.");
  command->footer(
      "What is said:\n"
      "  certain  by identity: who owns which lock, runs which once, is joined, and\n"
      "           which rights to a channel or context are left. The process goes on.\n"
      "  proved   with --prove: nobody who may still run can reach in memory what\n"
      "           would end the wait.\n"
      "A fiber that is reported never runs again, whatever the program does. How long\n"
      "it has waited plays no part. Where no proof is possible, \"inconclusive\" says why.\n"
      "\n"
      "With --suspicious, under a heading of its own, what age and count suggest: no\n"
      "proof, and never the reason for exit code 3.\n"
      "\n"
      "Examples:\n"
      "  fiberprof deadlock kvd --prove\n"
      "  fiberprof deadlock kvd --watch -i 10s\n"
      "  fiberprof deadlock --core core.1234 --prove\n"
      "\n"
      "Exit code 3 when something was found.");
  command->callback([options, &action] { action = [options] { return deadlock(*options); }; });
}

}  // namespace fiberprof
