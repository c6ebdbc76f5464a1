// SPDX-License-Identifier: BSD-2-Clause
#include "cli/report.h"

#include <unistd.h>

#include <memory>

#include "cli/options.h"
#include "profile/profile.h"
#include "render/report.h"

namespace fiberprof {
namespace {

struct Options {
  std::string file;
  ReportOptions report;
  bool json = false;
};

int report(const Options& options) {
  const Result<Profile> profile = read_profile(options.file);
  if (!profile) return print_error(profile.error());
  if (options.report.by == GroupBy::waker && profile->chains.empty())
    return print_error({"no wakers in " + options.file, "it was recorded without them",
                        "record with fiberprof record --waker", ExitCode::error});
  const std::string text = options.json ? report_json(*profile, options.report)
                                        : report_text(*profile, options.report, Style(use_colour(STDOUT_FILENO)),
                                                      terminal_columns(STDOUT_FILENO, 100));
  print(text);
  return static_cast<int>(ExitCode::ok);
}

}  // namespace

void add_report(CLI::App& app, std::function<int()>& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("report", "Tables of a recording: the stacks that were blocked longest");
  command->add_option("file", options->file, "A recording, written by fiberprof record. - reads standard input.")
      ->required()
      ->option_text("FILE (required)");
  add_choice<GroupBy>(
      *command, "--by", options->report.by,
      {{"stack", GroupBy::stack},
       {"reason", GroupBy::reason},
       {"fiber", GroupBy::fiber},
       {"process", GroupBy::process},
       {"worker", GroupBy::worker},
       {"waker", GroupBy::waker}},
      "Group waits by stack (default), reason, fiber (the function it was spawned with), process or waker (who ended "
      "them, and what had held that one up; from record --waker); worker shows what the worker threads waited for in "
      "the kernel.");
  add_count(*command, "-n,--rows", options->report.rows, "Rows of each table; 0: all. Default 10.");
  command->add_flag(
      "--all-frames", options->report.all_frames,
      "Show the frames of the fiber runtime and of the kernel too. By default only the function the program called "
      "is shown.");
  command->add_flag("--json", options->json, "One JSON object; times in nanoseconds.");
  command->footer(
      "Reading it:\n"
      "  total   time fibers were blocked: parked, then runnable in a queue. Many\n"
      "          fibers wait at once, so it exceeds the time recorded.\n"
      "  mean, max   of one wait. p50, p99 come from power-of-two buckets: they\n"
      "          are right within a factor of two.\n"
      "  queued  the part of the wait after the wake-up, spent in a run queue:\n"
      "          the scheduler's or the CPU's fault, not the resource's.\n"
      "  not ended   waits still in flight when the recording ended.\n"
      "  OFF CPU fibers whose worker thread the kernel stopped (preempted, page\n"
      "          fault, futex, blocking system call).\n"
      "  IDLE    workers that had nothing to do. Never part of another sum.\n"
      "\n"
      "The recording is a gzipped pprof profile: go tool pprof opens it too.\n"
      "OVERHEAD: none; only the file is read.");
  command->callback([options, &action] { action = [options] { return report(*options); }; });
}

}  // namespace fiberprof
