// SPDX-License-Identifier: BSD-2-Clause
#include "session/recorder.h"

#include <poll.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "process/registry_view.h"
#include "session/complete_stacks.h"
#include "session/open_waits.h"
#include "session/profile_builder.h"
#include "session/reconcile.h"
#include "session/stopwatch.h"
#include "symbol/symbolizer.h"

namespace fiberprof {
namespace {

uint64_t unix_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

// What a program itself has counted: waits begun, fibers created.
struct OwnCounts {
  uint64_t waits = 0, fibers = 0, steals = 0;
};

// False, and `counts` as before, when the process cannot be read any more.
bool own_counts(RegistryView& registry, OwnCounts& counts) {
  const auto summary = registry.summary();
  if (!summary) return false;
  counts = {0, summary->fibers_created, 0};
  for (const ProcessorInfo& processor : summary->processors) {
    counts.steals += processor.steals;
    for (const uint64_t parks : processor.parks) counts.waits += parks;
  }
  return true;
}

struct Watched {
  explicit Watched(uint32_t reasons) : reconciler(reasons) {}
  std::unique_ptr<RegistryView> registry;  // null: none, or not readable
  OwnCounts first, last;
  Reconciler reconciler;
  bool current = false;  // `last` was read at the very end: the process had not ended by itself
};

}  // namespace

struct Recorder::State {
  explicit State(Session s) : session(std::move(s)) {}
  Session session;
  std::string command;
  std::map<uint32_t, std::unique_ptr<ProcessSymbols>> symbols;
  std::map<uint32_t, Watched> watched;
  uint64_t start_ns = 0, start_unix_ns = 0, end_ns = 0;

  void open_symbols();
  // While the processes live: libraries loaded since, their own counters.
  void refresh();
};

Recorder::Recorder(std::unique_ptr<State> state) : state_(std::move(state)) {}
Recorder::Recorder(Recorder&&) noexcept = default;
Recorder& Recorder::operator=(Recorder&&) noexcept = default;
Recorder::~Recorder() = default;
Session& Recorder::session() { return state_->session; }

void Recorder::State::open_symbols() {
  for (const FiberProcess& process : session.options().processes)
    if (auto opened = ProcessSymbols::open(process.pid)) symbols[process.pid] = std::move(*opened);
}

void Recorder::State::refresh() {
  for (const FiberProcess& process : session.options().processes) {
    Watched& entry = watched.at(process.pid);
    // A program that has just been started had no registry at first.
    if (!entry.registry && process.registry_address)
      if (auto view = RegistryView::open(process.pid, process.registry_address)) entry.registry = std::move(*view);
    if (entry.registry) entry.current = own_counts(*entry.registry, entry.last);
  }
  for (auto& [pid, each] : symbols) each->refresh();
}

Result<Recorder> Recorder::start(RecordOptions options) {
  std::map<uint32_t, Watched> watched;
  for (const FiberProcess& process : options.session.processes) {
    Watched& entry = watched.try_emplace(process.pid, options.session.reasons).first->second;
    if (process.registry_address)
      if (auto view = RegistryView::open(process.pid, process.registry_address)) entry.registry = std::move(*view);
    if (entry.registry && own_counts(*entry.registry, entry.first)) entry.last = entry.first;
    entry.reconciler.before_attach(entry.registry.get());
  }
  auto session = Session::start(std::move(options.session));
  if (!session) return tl::unexpected(session.error());
  for (auto& [pid, entry] : watched) entry.reconciler.after_attach(entry.registry.get());
  auto state = std::make_unique<State>(std::move(*session));
  state->watched = std::move(watched);
  state->command = std::move(options.command);
  state->start_ns = monotonic_ns();
  state->start_unix_ns = unix_ns();
  state->open_symbols();
  return Recorder(std::move(state));
}

void Recorder::wait(uint64_t duration_ns, const std::atomic<bool>& stop) {
  State& s = *state_;
  constexpr uint64_t second = 1'000'000'000;
  const uint64_t end = duration_ns ? s.start_ns + duration_ns : UINT64_MAX;
  uint64_t step = second / 10;  // a short-lived process is looked at early, then every second
  while (!stop && s.session.alive()) {
    const uint64_t now = monotonic_ns();
    if (now >= end) break;
    const uint64_t pause = std::min(end - now, step);
    std::vector<pollfd> ends;
    const auto fds = s.session.pidfds();
    // Several processes: only the end of all is of interest, which the step finds.
    if (fds.size() == 1) ends.push_back({fds[0], POLLIN, 0});
    const timespec timeout{static_cast<time_t>(pause / second), static_cast<long>(pause % second)};
    ppoll(ends.data(), ends.size(), &timeout, nullptr);
    if (s.session.alive()) s.refresh();
    step = second;
  }
  s.end_ns = monotonic_ns();
}

Result<Profile> Recorder::finish() {
  State& s = *state_;
  if (!s.end_ns) s.end_ns = monotonic_ns();
  s.refresh();
  for (auto& [pid, entry] : s.watched)
    if (entry.registry) entry.reconciler.before_snapshot(*entry.registry, s.session.attached_ns());
  auto snapshot = s.session.snapshot();
  if (!snapshot) return tl::unexpected(snapshot.error());
  for (auto& [pid, entry] : s.watched)
    if (entry.registry) entry.reconciler.after_snapshot(*entry.registry);
  ProfileBuilder builder(s.symbols);
  for (const FiberProcess& process : s.session.options().processes) builder.name_process(process.pid, process.name);

  OpenWaitLimits limits;
  limits.start_ns = snapshot->attached_ns;
  limits.now_ns = snapshot->time_ns;
  limits.min_wait_ns = s.session.options().min_wait_ns;
  limits.reasons = s.session.options().reasons;
  limits.fibers = &s.session.fibers();
  OpenWaitCounts open;
  for (auto& [pid, entry] : s.watched) {
    if (!entry.registry) continue;
    const auto counts = add_open_waits(pid, *entry.registry, limits, builder);
    if (!counts) continue;  // it has ended
    open.waits += counts->waits;
    open.torn += counts->torn;
    open.without_stack += counts->without_stack;
  }
  s.session.detach();
  StackCompleter().complete(*snapshot, s.symbols);
  builder.add(*snapshot);

  Profile profile = builder.take();
  profile.start_unix_ns = s.start_unix_ns;
  profile.duration_ns = s.end_ns - s.start_ns;
  utsname system{};
  uname(&system);
  profile.host = system.nodename;
  profile.kernel = std::string(system.release) + " " + system.machine;
  profile.command = s.command;
  profile.tier = s.session.options().tier == Tier::exact ? "exact" : "sampled";
  for (const FiberProcess& process : s.session.options().processes)
    profile.target +=
        (profile.target.empty() ? "" : ", ") + ("pid " + std::to_string(process.pid)) + " (" + process.name + ")";
  for (const auto& [pid, entry] : s.watched) {
    if (!entry.current) continue;
    profile.counters["fibers_created"] += entry.last.fibers - std::min(entry.first.fibers, entry.last.fibers);
    profile.counters["steals"] += entry.last.steals - std::min(entry.first.steals, entry.last.steals);
    profile.counters["waits_begun"] += entry.last.waits - std::min(entry.first.waits, entry.last.waits);
  }
  for (const BlockedEntry& entry : snapshot->blocked) {
    profile.counters["waits_ended"] += entry.count;
    profile.counters["events"] += entry.events;
  }
  profile.counters["waits_open"] = open.waits;
  Reconciliation sums;
  if (std::all_of(s.watched.begin(), s.watched.end(),
                  [&](const auto& each) { return each.second.reconciler.add(*snapshot, each.first, sums); })) {
    sums.seen -= std::min(sums.seen, snapshot->losses.clipped);
    sums.lost = snapshot->losses.blocked_map_full;
    sums.filtered = snapshot->losses.filtered;
    add_counters(sums, profile.counters);
  }
  if (open.without_stack) profile.losses["open wait without stack: out of time"] = open.without_stack;
  return profile;
}

}  // namespace fiberprof
