// SPDX-License-Identifier: BSD-2-Clause
#include "cli/diff.h"

#include <unistd.h>

#include <charconv>
#include <cmath>
#include <iostream>
#include <memory>

#include "cli/options.h"
#include "dump/diff.h"
#include "render/dump_diff.h"
#include "support/text.h"

namespace fiberprof {
namespace {

struct Options {
  std::string base, now;
  DiffLimits limits;
  size_t least = 1, rows = 0;
  bool json = false;
};

int diff(Options options) {
  options.limits.least = options.least;
  const Result<DumpDiff> diff = diff_dumps(options.base, options.now, options.limits);
  if (!diff) return print_error(diff.error());
  for (const DiffSide* side : {&diff->base, &diff->now})
    if (!side->complete)
      std::cerr << "fiberprof: " << sanitize(side->path)
                << " does not hold all fibers: it was made with a filter or with -n\n";
  if (diff->base.process != diff->now.process)
    std::cerr << "fiberprof: these are dumps of different programs, " << sanitize(diff->base.process) << " and "
              << sanitize(diff->now.process) << "\n";
  print(options.json ? diff_json(*diff, options.limits, options.rows)
                     : diff_text(*diff, options.limits, options.rows, Style(use_colour(STDOUT_FILENO)),
                                 terminal_columns(STDOUT_FILENO, 100)));
  return static_cast<int>(diff->over == 0 ? ExitCode::ok : ExitCode::finding);
}

}  // namespace

void add_diff(CLI::App& app, std::function<int()>& action) {
  auto options = std::make_shared<Options>();
  CLI::App* command =
      app.add_subcommand("diff", "Which groups of waiting fibers are new or have grown between two dumps");
  command->add_option("base", options->base, "The older dump, from fiberprof dump --group --json.")
      ->required()
      ->option_text("BASE (required)");
  command->add_option("new", options->now, "The newer one.")->required()->option_text("NEW (required)");
  command
      ->add_option_function<std::string>(
          "--fail-over",
          [&percent = options->limits.percent](const std::string& text) {
            std::string_view digits = text;
            if (digits.ends_with('%')) digits.remove_suffix(1);
            double value = 0;
            const auto [stopped, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
            if (error != std::errc() || stopped != digits.data() + digits.size() || !std::isfinite(value) || value < 0)
              throw CLI::ValidationError("--fail-over", "'" + text + "' is not a percentage of 0 or more");
            percent = value;
          },
          "Exit with code 3 when a group is new, or has grown by more than so many percent.")
      ->type_name("PCT");
  add_count(*command, "--min", options->least, "Groups of fewer fibers do not count for --fail-over. Default 1.");
  add_count(*command, "-n,--rows", options->rows, "How many changed groups are shown; 0: all. Default 0.");
  command->add_flag("--json", options->json, "One JSON object.");
  command->footer(
      "A group is all fibers with the same spawn site, wait reason and stack, by the\n"
      "names of functions; lines and addresses may differ, so that two builds can be\n"
      "compared. Fibers that run are left out: they come and go.\n"
      "\n"
      "As a gate for leaks in a test, before and after the load:\n"
      "  fiberprof dump kvd --group --json > before.json\n"
      "  ...\n"
      "  fiberprof dump kvd --group --json > after.json\n"
      "  fiberprof diff before.json after.json --fail-over 10\n"
      "\n"
      "OVERHEAD: none; only the files are read.");
  command->callback([options, &action] { action = [options] { return diff(*options); }; });
}

}  // namespace fiberprof
