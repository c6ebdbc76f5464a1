// SPDX-License-Identifier: BSD-2-Clause
#include "cli/top_watch.h"

#include <utility>

#include "deadlock/detect.h"
#include "process/target.h"

namespace fiberprof {
namespace {

// Reading a million fibers takes a fifth of a second; what lies beyond is counted as "more".
constexpr uint64_t kMaxFibers = 1'000'000;
Result<FiberProcess> choose(const std::string& target) {
  FiberFinder finder;
  if (!target.empty()) return finder.resolve(target);
  std::vector<FiberProcess> all = finder.find_all();
  const std::string what = "cannot choose a process to watch";
  if (all.empty()) return fail(what, "none with fiber probes is running", "start one, or see fiberprof list");
  if (all.size() == 1) return std::move(all.front());
  std::string names;
  for (size_t i = 0; i < all.size() && i < 5; ++i) {
    names += (i == 0 ? "" : ", ") + all[i].name + " (" + std::to_string(all[i].pid) + ")";
  }
  if (all.size() > 5) names += ", …";
  return fail(what, std::to_string(all.size()) + " have fiber probes: " + names, "give the PID of one",
              ExitCode::usage);
}

}  // namespace

Result<std::unique_ptr<TopWatch>> TopWatch::start(const std::string& target, SessionOptions options, bool all_frames) {
  Result<FiberProcess> process = choose(target);
  if (!process) return tl::unexpected(process.error());
  options.processes = {*process};
  const Tier tier = options.tier;
  // Before anything is attached, or a process that ends right after that would have no names.
  Result<std::unique_ptr<ProcessSymbols>> symbols = ProcessSymbols::open(process->pid);
  Result<Session> session = Session::start(std::move(options));
  if (!session) return tl::unexpected(session.error());
  std::unique_ptr<TopWatch> watch(new TopWatch(std::move(*process), std::move(*session), tier, all_frames));
  if (symbols) watch->symbols_[watch->process_.pid] = std::move(*symbols);
  return watch;
}

TopWatch::TopWatch(FiberProcess process, Session session, Tier tier, bool all_frames)
    : process_(std::move(process)),
      session_(std::move(session)),
      builder_(process_.pid, process_.name, tier == Tier::exact),
      all_frames_(all_frames) {
  if (process_.registry_address != 0) {
    if (auto registry = RegistryView::open(process_.pid, process_.registry_address)) registry_ = std::move(*registry);
  }
}

Result<void> TopWatch::refresh() {
  if (alive())
    for (auto& [pid, symbols] : symbols_) symbols->refresh();
  Result<Snapshot> snapshot = session_.snapshot();
  if (!snapshot) return tl::unexpected(snapshot.error());
  complete_stacks(*snapshot, symbols_);
  std::optional<RegistrySummary> summary;
  std::optional<FiberCensus> census;
  if (registry_ && alive()) {
    if (auto read = registry_->summary()) summary = std::move(*read);
    if (summary && pace_.due(snapshot->time_ns)) {
      pace_.measure([&] {
        if (auto counted = take_census(*registry_, summary->clock_ns, snapshot->attached_ns, kMaxFibers))
          census = std::move(*counted);
      });
      if (census) may_be_deadlocked_ = census->may_be_deadlocked();
      pace_.plan(snapshot->time_ns);
    }
  }
  if (registry_ && alive() && may_be_deadlocked_ && deadlock_pace_.due(snapshot->time_ns)) {
    deadlock_pace_.measure([&] { look_for_deadlocks(); });
    deadlock_pace_.plan(snapshot->time_ns);
  }
  builder_.update(std::move(*snapshot), std::move(summary), std::move(census));
  return {};
}

void TopWatch::look_for_deadlocks() {
  const auto detection = detect_certain(*registry_);
  if (!detection || detection->verdict.causes.empty()) return;
  deadlock_.fibers = detection->verdict.dead.size();
  deadlock_.causes = detection->verdict.causes.size();
  deadlock_.largest = headline(detection->verdict.causes.front());
}

TopModel TopWatch::model(TopBuilder::Group group, bool since_start) {
  TopModel model = builder_.model(
      [this](uint32_t pid, const std::vector<uint64_t>& addresses) {
        const auto symbols = symbols_.find(pid);
        return symbols == symbols_.end() ? std::vector<Frame>() : symbols->second->stack(addresses, !all_frames_);
      },
      group, since_start);
  model.ended = !alive();
  model.deadlock = deadlock_;
  return model;
}

}  // namespace fiberprof
