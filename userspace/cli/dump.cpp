// SPDX-License-Identifier: BSD-2-Clause
#include "cli/dump.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <iostream>
#include <memory>

#include "cli/options.h"
#include "dump/dump.h"
#include "render/dump_json.h"
#include "render/dump_text.h"
#include "session/names.h"
#include "support/text.h"

namespace fiberprof {
namespace {

struct Options {
  std::string target, core, executable, fiber;
  DumpOptions dump;
  bool group = false, json = false;
};

Result<DumpSource> open_source(const Options& options) {
  if (options.core.empty() == options.target.empty())
    return fail("bad command line", options.target.empty() ? "nothing to dump" : "a process and a core file at once",
                "name one: fiberprof dump PID, or fiberprof dump --core CORE", ExitCode::usage);
  if (options.core.empty() && !options.executable.empty())
    return fail("bad command line", "--exe goes with --core", "see fiberprof dump --help", ExitCode::usage);
  // What a core that was cut short lacks shows as nothing, and is counted.
  return options.core.empty() ? DumpSource::live(options.target)
                              : DumpSource::from_core(options.core, options.executable, CoreGaps::zeros);
}

void remark(const std::string& text) { std::cerr << "fiberprof: " << sanitize(text) << '\n'; }

void print_remarks(const DumpSource& source, const Dump& dump) {
  if (source.core)
    for (const std::string& text : source.core->remarks()) remark(text);
  if (dump.lacking != 0)
    remark(format_count(dump.lacking) +
           " bytes that were asked for are not in the core: fibers may be missing, and stacks end early");
  if (source.core && dump.without_stack != 0)
    remark("the stacks of " + std::to_string(dump.without_stack) +
           " fibers are not in the core: gdb's gcore leaves memory with guard pages out, the kernel does not");
  if (dump.torn != 0)
    remark(std::to_string(dump.torn) + (dump.torn == 1 ? " fiber was" : " fibers were") +
           " changing all the time while read, and left out");
  if (dump.unfinished != 0) remark(std::to_string(dump.unfinished) + " deep stacks were read only in part");
  if (dump.not_kept != 0) remark(std::to_string(dump.not_kept) + " fibers more than are kept at once were left out");
}

int dump(Options options) {
  if (options.group) {
    if (options.dump.by != DumpBy::fiber)
      return print_error(
          {"bad command line", "--group and --by at once", "see fiberprof dump --help", ExitCode::usage});
    options.dump.by = DumpBy::group;
  }
  if (!options.fiber.empty()) {
    uint64_t id = 0;
    const char* const end = options.fiber.data() + options.fiber.size();
    const auto [stopped, error] = std::from_chars(options.fiber.data(), end, id);
    if (error == std::errc() && stopped == end)
      options.dump.filter.fiber_id = id;
    else
      options.dump.filter.fiber_name = sanitize(options.fiber);
  }
  Result<DumpSource> source = open_source(options);
  if (!source) return print_error(source.error());
  const Result<Dump> dump = gather(*source, options.dump);
  if (!dump) return print_error(dump.error());
  print_remarks(*source, *dump);
  if (options.json)
    dump_json(*dump, options.dump, [](std::string_view text) { return print(std::string(text)); });
  else
    dump_text(*dump, options.dump, Style(use_colour(STDOUT_FILENO)), terminal_columns(STDOUT_FILENO, 100),
              [](std::string_view text) { return print(std::string(text)); });
  return static_cast<int>(ExitCode::ok);
}

// An option that takes one of many words, looked up by `find`.
template <class T, class Find>
void add_word(CLI::App& app, const std::string& flags, std::optional<T>& value, Find find, const std::string& type,
              const std::string& help) {
  app.add_option_function<std::string>(
         flags,
         [&value, flags, find](const std::string& text) {
           value = find(text);
           if (!value) throw CLI::ValidationError(flags, "'" + text + "' is none of those that fibers have");
         },
         help)
      ->type_name(type);
}

}  // namespace

void add_dump(CLI::App& app, std::function<int()>& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("dump", "Every fiber of a process or a core file: its stack and what it waits for");
  command->add_option("target", options->target, "A process, by id or name. It is not stopped.")
      ->option_text("PID|NAME");
  command->add_option("--core", options->core, "A core file instead of a process.")->option_text("CORE");
  command
      ->add_option("--exe", options->executable,
                   "The program the core was taken of, when it is no longer where it was. It must be the same build.")
      ->option_text("FILE");
  command->add_flag("--group", options->group,
                    "Fold fibers with the same stack, state, reason and spawn site into one, the largest group first.");
  add_choice<DumpBy>(*command, "--by", options->dump.by,
                     {{"fiber", DumpBy::fiber}, {"channel", DumpBy::channel}, {"object", DumpBy::object}},
                     "List fibers (default), the channels that are waited for with who waits on each side, or all "
                     "objects that are waited for.");
  command->add_option("--fiber", options->fiber, "One fiber, by id or name, with all that is known about it.")
      ->type_name("ID|NAME");
  add_word(*command, "--reason", options->dump.filter.reason, reason_of, "REASON",
           "Only fibers that wait for this: chan-receive, mutex, io-read, ...");
  add_word(
      *command, "--state", options->dump.filter.state, [](const std::string& text) { return fiber_state_of(text); },
      "STATE", "Only fibers in this state: parked, runnable, running or blocking.");
  add_duration(*command, "--older", options->dump.filter.older_ns,
               "Only fibers that are in their state for that long.");
  add_count(*command, "-n,--rows", options->dump.rows,
            "How many fibers (the oldest), groups (the largest) or objects are shown; 0: all. Default 0.");
  command->add_flag(
      "--all-frames", options->dump.all_frames,
      "Show the frames of the fiber runtime too. By default only the function the program called is shown.");
  command->add_flag("--json", options->json,
                    "One JSON object; times in nanoseconds. fiberprof diff compares two of them.");
  command->footer(
      "Reading it:\n"
      "  for 3m02s   how long the fiber has been in its state.\n"
      "  held by     the fiber that owns the lock now. Handles of a channel are\n"
      "          those alive anywhere in the program that may send or receive;\n"
      "          with none left to send, who receives waits for ever.\n"
      "  running     has no saved stack: it is on a worker thread. In a core file\n"
      "          the stack is that of the thread.\n"
      "A channel that no fiber waits for is on no list.\n"
      "\n"
      "Examples:\n"
      "  fiberprof dump kvd --group               what 100,000 fibers do, on a page\n"
      "  fiberprof dump kvd --older 1m            who is stuck\n"
      "  fiberprof dump kvd --by channel -n 10    the channels most wait for\n"
      "  fiberprof dump --core core.1234          after a crash\n"
      "\n"
      "OVERHEAD: none in the process: its memory is read from outside, without\n"
      "stopping it and without root where it is one's own.");
  command->callback([options, &action] { action = [options] { return dump(*options); }; });
}

}  // namespace fiberprof
