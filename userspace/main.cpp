// SPDX-License-Identifier: BSD-2-Clause
// fiberprof: the command line. A command adds itself and sets `action`; everything below here returns errors, and
// only this file turns them into exit codes.
#include <cctype>
#include <exception>
#include <functional>
#include <iostream>

#include "cli/completion.h"
#include "cli/deadlock.h"
#include "cli/diff.h"
#include "cli/doctor.h"
#include "cli/dump.h"
#include "cli/flame.h"
#include "cli/list.h"
#include "cli/options.h"
#include "cli/record.h"
#include "cli/report.h"
#include "cli/top.h"

namespace fiberprof {
namespace {

constexpr const char* kDescription =
    "Where the fibers of a running C++ program wait, on what, for how long, and whether the program, its scheduler "
    "or the kernel is at fault. Watches live processes through probes and eBPF; nothing is restarted.";

constexpr const char* kFooter =
    "Every command has its own manual: fiberprof COMMAND --help\n"
    "\n"
    "Start here:\n"
    "  fiberprof list                    which processes can be watched\n"
    "  fiberprof top kvd                 what the fibers of a server wait for, live\n"
    "  fiberprof record kvd -d 10s       ten seconds into fiberprof.pb.gz\n"
    "  fiberprof report fiberprof.pb.gz  the stacks that were blocked longest\n"
    "  fiberprof flame fiberprof.pb.gz   the same as a picture, blocked.svg\n"
    "  fiberprof dump kvd --group        what every fiber does right now\n"
    "\n"
    "Durations take a unit: 10us 5ms 2s 1m. Data goes to stdout, everything else to stderr.\n"
    "\n"
    "Exit codes: 0 fine, 1 error, 2 wrong usage, 3 a finding (something asked for was found).\n"
    "Environment: NO_COLOR turns colour off.";

void add_commands(CLI::App& app, std::function<int()>& action) {
  add_top(app, action);
  add_record(app, action);
  add_report(app, action);
  add_flame(app, action);
  add_dump(app, action);
  add_deadlock(app, action);
  add_diff(app, action);
  add_list(app, action);
  add_doctor(app, action);
  add_completion(app, action);
}

// CLI11's messages are sentences, some over several lines: make one clause of them.
std::string clause(std::string text) {
  for (char& c : text) {
    if (c == '\n') c = ' ';
  }
  while (!text.empty() && (text.back() == ' ' || text.back() == '.')) text.pop_back();
  if (text.size() > 1 && std::islower(static_cast<unsigned char>(text[1])) != 0) {
    text[0] = static_cast<char>(std::tolower(static_cast<unsigned char>(text[0])));
  }
  return text;
}

int run(int argc, char** argv) {
  CLI::App app(kDescription, "fiberprof");
  app.formatter(help_formatter());
  app.footer(kFooter);
  app.set_help_flag("-h,--help", "This help, or that of a command.");
  app.set_version_flag("--version", std::string("fiberprof ") + kVersion, "The version of fiberprof.");
  app.require_subcommand(0, 1);
  std::function<int()> action;
  add_commands(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& asked) {  // --help, --version
    return app.exit(asked);
  } catch (const CLI::ParseError& error) {
    std::string command = "fiberprof";
    for (const CLI::App* sub : app.get_subcommands()) command += " " + sub->get_name();
    return print_error({"bad command line", clause(error.what()), "see " + command + " --help", ExitCode::usage});
  }
  if (action) return action();
  std::cerr << app.help();
  return static_cast<int>(ExitCode::usage);
}

}  // namespace
}  // namespace fiberprof

int main(int argc, char** argv) {
  try {
    return fiberprof::run(argc, argv);
  } catch (const std::exception& error) {  // out of memory, mostly
    return fiberprof::print_error({"cannot go on", error.what(), "", fiberprof::ExitCode::error});
  }
}
