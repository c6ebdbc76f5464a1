// SPDX-License-Identifier: BSD-2-Clause
#include "cli/list.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>

#include "process/proc.h"
#include "process/registry_view.h"
#include "process/target.h"
#include "session/stopwatch.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

struct Row {
  FiberProcess process;
  std::optional<uint64_t> fibers, uptime_ns;
  size_t processors = 0, workers = 0;
  uint64_t own_pid = 0;  // in its own pid namespace
  std::string problem;   // why the numbers are missing
};

// The last of the ids in /proc/PID/status, one for each pid namespace from ours to its own; 0: unknown.
uint64_t pid_in_its_namespace(uint32_t pid) {
  const auto status = read_proc_file(pid, "status");
  if (!status) return 0;
  const size_t line = status->find("\nNSpid:");
  if (line == std::string::npos) return 0;
  const std::string ids = status->substr(line + 1, status->find('\n', line + 1) - line - 1);
  return std::strtoull(ids.c_str() + ids.find_last_of("\t ") + 1, nullptr, 10);
}

Row look_at(FiberProcess process) {
  Row row;
  row.process = std::move(process);
  row.own_pid = pid_in_its_namespace(row.process.pid);
  if (row.process.registry_address == 0) {
    row.problem = "its runtime has no registry";
    return row;
  }
  auto view = RegistryView::open(row.process.pid, row.process.registry_address);
  const auto summary = view ? (*view)->summary() : tl::unexpected(view.error());
  if (!summary) {
    row.problem = summary.error().why;
    return row;
  }
  row.processors = summary->processors.size();
  row.workers = summary->workers.size();
  if (summary->start_ns != 0 && summary->start_ns < monotonic_ns()) row.uptime_ns = monotonic_ns() - summary->start_ns;
  uint64_t fibers = 0;
  const auto torn = (*view)->fibers([&](const FiberInfo&) { ++fibers; }, UINT64_MAX);
  if (torn)
    row.fibers = fibers + *torn;
  else
    row.problem = torn.error().why;
  return row;
}

// With a column for the ids of processes in containers, when there are any.
void print_table(const std::vector<Row>& rows) {
  const bool contained = std::any_of(rows.begin(), rows.end(),
                                     [](const Row& row) { return row.own_pid != 0 && row.own_pid != row.process.pid; });
  const auto own = [&](const std::string& text) {
    if (contained) std::printf(" %7s", text.c_str());
  };
  std::printf("%7s", "PID");
  own("INSIDE");
  std::printf("  %-15s %7s %10s %7s %7s  %s\n", "NAME", "FIBERS", "PROCESSORS", "WORKERS", "UPTIME", "BINARY");
  for (const Row& row : rows) {
    const std::string name = fit(row.process.name, 15);
    const std::string padding(15 - std::min<size_t>(15, display_width(name)), ' ');
    std::printf("%7u", row.process.pid);
    own(row.own_pid == 0 ? "-" : std::to_string(row.own_pid));
    std::printf("  %s%s %7s %10zu %7zu %7s  %s\n", name.c_str(), padding.c_str(),
                row.fibers ? std::to_string(*row.fibers).c_str() : "-", row.processors, row.workers,
                row.uptime_ns ? format_duration(*row.uptime_ns).c_str() : "-",
                sanitize(row.process.binary_path).c_str());
  }
}

void print_json(const std::vector<Row>& rows) {
  auto processes = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    nlohmann::ordered_json process;
    process["pid"] = row.process.pid;
    if (row.own_pid != 0) process["pid_in_its_namespace"] = row.own_pid;
    process["name"] = sanitize(row.process.name);
    process["fibers"] = row.fibers ? nlohmann::ordered_json(*row.fibers) : nlohmann::ordered_json(nullptr);
    process["processors"] = row.processors;
    process["workers"] = row.workers;
    process["uptime_ns"] = row.uptime_ns ? nlohmann::ordered_json(*row.uptime_ns) : nlohmann::ordered_json(nullptr);
    process["binary"] = sanitize(row.process.binary_path);
    process["build_id"] = row.process.binary.build_id;
    if (!row.problem.empty()) process["problem"] = row.problem;
    processes.push_back(std::move(process));
  }
  std::printf("%s\n", processes.dump(2).c_str());
}

int run_list(bool json) {
  FiberFinder finder;
  size_t unreadable = 0;
  std::vector<Row> rows;
  for (FiberProcess& process : finder.find_all(&unreadable)) rows.push_back(look_at(std::move(process)));
  if (json)
    print_json(rows);
  else if (!rows.empty())
    print_table(rows);
  else
    std::fprintf(stderr, "fiberprof: no process with fiber probes is running\n");
  for (const Row& row : rows)
    if (!row.problem.empty())
      std::fprintf(stderr, "fiberprof: process %u (%s): %s\n", row.process.pid, sanitize(row.process.name).c_str(),
                   row.problem.c_str());
  // Root cannot read a few hardened processes anywhere; that is worth a line only when it may be why nothing was found.
  if (unreadable != 0 && (rows.empty() || geteuid() != 0))
    std::fprintf(stderr, "fiberprof: %zu process%s could not be read; %s\n", unreadable, unreadable == 1 ? "" : "es",
                 permission_hint().c_str());
  return static_cast<int>(ExitCode::ok);
}

}  // namespace

void add_list(CLI::App& app, std::function<int()>& action) {
  CLI::App* command = app.add_subcommand("list", "Show the processes on fibers that can be watched");
  const auto json = std::make_shared<bool>(false);
  // As elsewhere; here there is nothing else.
  const auto all = std::make_shared<bool>(false);
  command->add_flag("-a,--all", *all, "All programs on fibers of the machine, containers included: the default");
  command->add_flag("--json", *json, "Print JSON");
  command->callback([json, all, &action] { action = [json] { return run_list(*json); }; });
}

}  // namespace fiberprof
