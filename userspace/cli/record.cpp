// SPDX-License-Identifier: BSD-2-Clause
#include "cli/record.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <iostream>
#include <memory>
#include <optional>

#include "cli/filters.h"
#include "cli/options.h"
#include "process/target.h"
#include "profile/reconciliation.h"
#include "session/launch.h"
#include "session/recorder.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

struct Options {
  std::vector<std::string> words;  // PID or NAME, or the command
  bool is_command = false;         // "--" was given
  bool all = false;
  uint64_t duration_ns = 0;
  std::string file = "fiberprof.pb.gz";
  bool exact = false, wakers = false, no_off_cpu = false, quiet = false;
  WaitFilter filter;
};

std::atomic<bool> interrupted{false};

// Ctrl-C ends the recording, which is then written; a second one ends fiberprof.
class Interrupts {
 public:
  Interrupts() {
    struct sigaction action {};
    action.sa_handler = [](int) { interrupted = true; };
    action.sa_flags = static_cast<int>(SA_RESETHAND);
    sigaction(SIGINT, &action, &before_[0]);
    sigaction(SIGTERM, &action, &before_[1]);
  }
  ~Interrupts() {
    sigaction(SIGINT, &before_[0], nullptr);
    sigaction(SIGTERM, &before_[1], nullptr);
  }
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;

 private:
  struct sigaction before_[2]{};
};

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

// A program whose runtime is a shared library has probes only once the dynamic linker has mapped it.
Result<FiberProcess> find_launched(FiberFinder& finder, Launched& launched) {
  const auto pid = static_cast<uint32_t>(launched.pid());
  auto found = finder.find(pid);
  if (found) return found;
  launched.resume();
  const timespec moment{0, 1'000'000};
  for (int i = 0; i < 2000 && !found && !interrupted; ++i) {
    nanosleep(&moment, nullptr);
    found = finder.find(pid);
    if (!found && access(("/proc/" + std::to_string(pid) + "/exe").c_str(), F_OK) != 0) break;  // ended
  }
  return found;
}

void print_warnings(Recorder& recorder) {
  for (const auto& warning : recorder.take_warnings()) std::cerr << "fiberprof: " << sanitize(warning) << "\n";
}

void print_summary(const Profile& profile, const std::string& file) {
  uint64_t waits = 0, blocked_ns = 0, open = 0, off_cpu_ns = 0;
  for (const Sample& sample : profile.samples) {
    if (sample.kind == SampleKind::blocked) waits += sample.count, blocked_ns += sample.total_ns;
    if (sample.kind == SampleKind::open) open += sample.count;
    if (sample.kind == SampleKind::off_cpu) off_cpu_ns += sample.total_ns;
  }
  std::cerr << "recorded " << format_duration(profile.duration_ns) << " of " << sanitize(profile.target) << ": "
            << waits << " waits, " << format_duration(blocked_ns) << " blocked (" << profile.tier << "), " << open
            << " still waiting; workers held by the kernel under a fiber for " << format_duration(off_cpu_ns) << "\n";
  if (const auto sums = reconciliation_of(profile.counters)) std::cerr << to_text(*sums) << "\n";
  for (const auto& [cause, events] : profile.losses) std::cerr << "  " << cause << ": " << events << "\n";
  std::cerr << "wrote " << sanitize(file) << "; next: fiberprof report " << sanitize(file) << "\n";
}

int record(const Options& options) {
  const auto usage = [](const char* why) {
    return print_error({"nothing to record", why, "see fiberprof record --help", ExitCode::usage});
  };
  if (options.words.empty() != options.all) return usage(options.all ? "-a takes no process" : "no process given");
  if (!options.is_command && options.words.size() > 1) return usage("one process at a time; a command goes after --");

  RecordOptions recording;
  SessionOptions& session = recording.session;
  if (const auto applied = apply(options.filter, session); !applied) return print_error(applied.error());
  session.tier = options.exact ? Tier::exact : Tier::sampled;
  session.off_cpu = !options.no_off_cpu;
  session.wakers = options.wakers;
  session.all_of_binary = options.all;

  const Interrupts interrupts;
  FiberFinder finder;
  std::optional<Launched> launched;
  if (options.all) {
    recording.command = "fiberprof record -a";
  } else {
    if (options.is_command) {
      auto started = Launched::start(options.words);
      if (!started) return print_error(started.error());
      launched.emplace(std::move(*started));
    }
    auto process = launched ? find_launched(finder, *launched) : finder.resolve(options.words[0]);
    if (!process) return print_error(process.error());
    session.processes = {*process};
    recording.command = "fiberprof record " + std::string(launched ? "-- " : "") + joined(options.words);
  }

  auto recorder = Recorder::start(std::move(recording));
  if (!recorder) return print_error(recorder.error());
  if (launched) launched->resume();
  // Without a registry that is ready yet, a fresh program announces its workers itself.
  if (!launched) print_warnings(*recorder);
  if (!options.quiet)
    std::cerr << "recording "
              << (options.duration_ns ? "for " + format_duration(options.duration_ns)
                                      : std::string(options.all ? "all programs on fibers until asked to end"
                                                                : "until the process ends"))
              << "; Ctrl-C ends it and writes\n";
  recorder->wait(options.duration_ns, interrupted);
  if (options.all) print_warnings(*recorder);
  const auto profile = recorder->finish();
  if (!profile) return print_error(profile.error());
  if (const auto written = write_profile(*profile, options.file); !written) return print_error(written.error());
  if (!options.quiet) print_summary(*profile, options.file);
  if (!launched) return static_cast<int>(ExitCode::ok);
  const bool ended = !recorder->session().alive();
  if (!ended) launched->terminate();
  const int code = launched->wait();
  return ended ? code : static_cast<int>(ExitCode::ok);
}

}  // namespace

void add_record(CLI::App& app, std::function<int()>& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("record", "Watch a process for a while, write what its fibers waited for");
  command
      ->add_option("process", options->words,
                   "A process: its PID, its name, or a part of the name that only it has. Or, after --, a command "
                   "to start and watch from its first instruction.")
      ->option_text("PID|NAME | -- CMD…");
  command->add_flag("-a,--all", options->all,
                    "All processes on fibers of the machine, those that start later included, containers too.");
  add_duration(*command, "-d,--duration", options->duration_ns,
               "How long. Default: until the process ends or Ctrl-C. A command started here is sent SIGTERM after it.");
  command->add_option("-o,--output", options->file, "Where to. Default fiberprof.pb.gz.")->option_text("FILE");
  command->add_flag("--exact", options->exact,
                    "An event for every single wait instead of a sample of them: exact counts, for about 1 us a wait.");
  command->add_flag("--waker", options->wakers,
                    "Also who ended each wait, and what had held that one up meanwhile, up to 8 wake-ups back: for "
                    "flame --waker and report --by waker.");
  add_wait_filter(*command, options->filter);
  command->add_flag("--no-off-cpu", options->no_off_cpu, "Do not watch the worker threads in the kernel's scheduler.");
  command->add_flag("-q,--quiet", options->quiet, "Errors and warnings only.");
  command->footer(
      "What is recorded:\n"
      "  blocked   waits of fibers that ended while recording, by stack and reason\n"
      "  open      waits still in flight at the end\n"
      "  off CPU   a fiber whose worker thread the kernel stopped: preempted, page\n"
      "            fault, futex (a pthread mutex!), blocking system call\n"
      "  idle      workers with nothing to do\n"
      "\n"
      "Nothing of the process is stopped or changed; killing fiberprof is safe.\n"
      "Exit code: 0, or that of the command after --.\n"
      "\n"
      "OVERHEAD: with the sampled tier a few ns per wait. With --exact every wait\n"
      "costs its fiber 1 us, and twice that with --waker. Each switch of a worker\n"
      "thread costs about 1 us more unless --no-off-cpu.");
  command->callback([options, command, &action] {
    // "--" is told from a process's name by what the parser leaves over; anything else there is a mistake.
    std::vector<std::string> unknown;
    for (const auto& word : command->remaining()) {
      if (word == "--")
        options->is_command = true;
      else
        unknown.push_back(word);
    }
    if (!unknown.empty()) throw CLI::ExtrasError("record", unknown);
    action = [options] { return record(*options); };
  });
  command->allow_extras();
}

}  // namespace fiberprof
