// SPDX-License-Identifier: BSD-2-Clause
#include "cli/flame.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <iostream>
#include <memory>

#include "cli/options.h"
#include "process/target.h"
#include "profile/profile.h"
#include "render/flame_svg.h"
#include "render/flame_tree.h"
#include "session/recorder.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

struct Options {
  std::string source;
  std::string output;
  uint64_t duration_ns = 10'000'000'000;
  FlameOptions flame;
  FlameLook look;
  bool folded = false;
};

std::atomic<bool> interrupted{false};

bool is_pid(const std::string& text) {
  return !text.empty() && text.size() <= 10 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; }) &&
         ::access(text.c_str(), F_OK) != 0;
}

Result<Profile> load(const Options& options) {
  if (!is_pid(options.source)) return read_profile(options.source);
  FiberFinder finder;
  const Result<FiberProcess> process = finder.resolve(options.source);
  if (!process) return tl::unexpected(process.error());
  RecordOptions recording;
  recording.session.processes = {*process};
  recording.session.wakers = options.flame.wakers;
  recording.command = "fiberprof flame " + options.source;
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = true; };
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // a second Ctrl-C ends fiberprof
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  Result<Recorder> recorder = Recorder::start(std::move(recording));
  if (!recorder) return tl::unexpected(recorder.error());
  std::cerr << "recording " << sanitize(process->name) << " for " << format_duration(options.duration_ns)
            << "; Ctrl-C draws what there is\n";
  recorder->wait(options.duration_ns, interrupted);
  return recorder->finish();
}

int flame(const Options& options) {
  const Result<Profile> profile = load(options);
  if (!profile) return print_error(profile.error());
  if (options.flame.wakers && profile->chains.empty())
    return print_error({"no wakers in " + options.source, "it was recorded without them, or nobody woke anybody",
                        "record with fiberprof record --waker", ExitCode::error});
  if (options.folded) {
    const Result<void> written =
        write_file(folded_stacks(*profile, options.flame), options.output.empty() ? "-" : options.output);
    return written ? static_cast<int>(ExitCode::ok) : print_error(written.error());
  }
  const FlameTree tree = flame_tree(*profile, options.flame);
  const std::string output = options.output.empty() ? "blocked.svg" : options.output;
  const Result<void> written = write_file(flame_svg(*profile, tree, options.flame.kind, options.look), output);
  if (!written) return print_error(written.error());
  if (output != "-") std::cerr << "wrote " << output << "; open it in a browser to zoom and search\n";
  return static_cast<int>(ExitCode::ok);
}

}  // namespace

void add_flame(CLI::App& app, std::function<int()>& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("flame", "A flame graph of blocked time, as one interactive SVG file");
  command
      ->add_option("source", options->source,
                   "A recording (- reads standard input), or the id of a process to record first.")
      ->required()
      ->option_text("FILE|PID (required)");
  command
      ->add_option("-o,--output", options->output,
                   "Where to write; - is standard output. Default blocked.svg, and standard output with --folded.")
      ->option_text("FILE");
  add_duration(*command, "-d,--duration", options->duration_ns, "How long to record when a PID is given. Default 10s.");
  add_choice<FlameKind>(*command, "--kind", options->flame.kind,
                        {{"blocked", FlameKind::blocked},
                         {"off-cpu", FlameKind::off_cpu},
                         {"all", FlameKind::all},
                         {"cpu", FlameKind::cpu}},
                        "What the width means: blocked (default) is time fibers waited, off-cpu time the kernel took "
                        "their worker thread away, all both of them, cpu time they ran. Idle workers are in none.");
  command->add_flag("--folded", options->folded,
                    "Folded stacks as text instead: outermost;...;innermost;[reason] nanoseconds, one line a stack.");
  command->add_flag("--inverted", options->look.inverted, "Grow downwards, from where fibers begin (an icicle).");
  command->add_flag("--waker", options->flame.wakers,
                    "Go on above each wait: who ended it, then what had held that one up, and so on, so that the cause "
                    "is at the top. A recording must have been made with record --waker.");
  command->add_flag("--all-frames", options->flame.all_frames,
                    "Show the fiber runtime's own frames too. By default only the one the program called is shown.");
  command->footer(
      "In the picture:\n"
      "  click        zoom into a frame; the line above leads back\n"
      "  Ctrl-F or /  search (text or regular expression); says how much matched\n"
      "  legend       click a reason to see only its waits\n"
      "  arrow keys   walk the frames; Enter zooms, Escape resets\n"
      "The address in the browser keeps zoom and search, so a view can be shared.\n"
      "\n"
      "OVERHEAD: none for a file; for a PID that of fiberprof record.");
  command->callback([options, &action] { action = [options] { return flame(*options); }; });
}

}  // namespace fiberprof
