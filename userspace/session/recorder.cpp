// SPDX-License-Identifier: BSD-2-Clause
#include "session/recorder.h"

#include <poll.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "process/registry_view.h"
#include "session/complete_stacks.h"
#include "session/open_waits.h"
#include "session/own_counts.h"
#include "session/profile_builder.h"
#include "session/reconcile.h"
#include "session/stopwatch.h"
#include "session/system_recording.h"
#include "symbol/symbolizer.h"

namespace fiberprof {
namespace {

uint64_t unix_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

struct Watched {
  explicit Watched(uint32_t reasons) : reconciler(reasons) {}
  OwnAccount own;
  Reconciler reconciler;
};

}  // namespace

struct Recorder::State {
  std::optional<Session> session;
  std::unique_ptr<SystemRecording> system;  // instead, when everything is recorded
  std::string command;
  std::map<uint32_t, std::unique_ptr<ProcessSymbols>> symbols;
  std::map<uint32_t, Watched> watched;
  uint64_t start_ns = 0, start_unix_ns = 0, end_ns = 0;
  bool warned = false;

  // Before anything is attached, or a process that ends right after that would have no names.
  void open_symbols(const std::vector<FiberProcess>& processes);
  // While the processes live: libraries loaded since, their own counters.
  void refresh();
  // All but what every recording has.
  Result<Profile> finish();
};

Recorder::Recorder(std::unique_ptr<State> state) : state_(std::move(state)) {}
Recorder::Recorder(Recorder&&) noexcept = default;
Recorder& Recorder::operator=(Recorder&&) noexcept = default;
Recorder::~Recorder() = default;
Session& Recorder::session() { return state_->system ? state_->system->watch().session() : *state_->session; }
std::vector<std::string> Recorder::take_warnings() {
  if (state_->system) return state_->system->watch().take_warnings();
  return std::exchange(state_->warned, true) ? std::vector<std::string>() : state_->session->warnings();
}

void Recorder::State::open_symbols(const std::vector<FiberProcess>& processes) {
  for (const FiberProcess& process : processes)
    if (auto opened = ProcessSymbols::open(process.pid)) symbols[process.pid] = std::move(*opened);
}

void Recorder::State::refresh() {
  for (const FiberProcess& process : session->options().processes) {
    OwnAccount& entry = watched.at(process.pid).own;
    // A program that has just been started had no registry at first.
    if (!entry.registry && process.registry_address)
      if (auto view = RegistryView::open(process.pid, process.registry_address)) entry.registry = std::move(*view);
    entry.refresh();
  }
  for (auto& [pid, each] : symbols) each->refresh();
}

Result<Recorder> Recorder::start(RecordOptions options) {
  auto state = std::make_unique<State>();
  if (options.session.all_of_binary) {
    auto system = SystemRecording::start(std::move(options.session));
    if (!system) return tl::unexpected(system.error());
    state->system = std::move(*system);
  } else {
    for (const FiberProcess& process : options.session.processes) {
      Watched& entry = state->watched.try_emplace(process.pid, options.session.reasons).first->second;
      entry.own.open(process.pid, process.registry_address);
      entry.reconciler.before_attach(entry.own.registry.get());
    }
    state->open_symbols(options.session.processes);
    auto session = Session::start(std::move(options.session));
    if (!session) return tl::unexpected(session.error());
    for (auto& [pid, entry] : state->watched) entry.reconciler.after_attach(entry.own.registry.get());
    state->session.emplace(std::move(*session));
  }
  state->command = std::move(options.command);
  state->start_ns = monotonic_ns();
  state->start_unix_ns = unix_ns();
  return Recorder(std::move(state));
}

void Recorder::wait(uint64_t duration_ns, const std::atomic<bool>& stop) {
  State& s = *state_;
  constexpr uint64_t second = 1'000'000'000;
  const uint64_t end = duration_ns ? s.start_ns + duration_ns : UINT64_MAX;
  uint64_t step = second / 10;  // a short-lived process is looked at early, then every second
  while (!stop && (s.system || s.session->alive())) {
    const uint64_t now = monotonic_ns();
    if (now >= end) break;
    const uint64_t pause = std::min(end - now, step);
    std::vector<pollfd> ends;
    if (s.system)
      ends.push_back({s.system->watch().fd(), POLLIN, 0});
    else if (const auto fds = s.session->pidfds(); fds.size() == 1)  // of several only the end of all is of interest
      ends.push_back({fds[0], POLLIN, 0});
    const timespec timeout{static_cast<time_t>(pause / second), static_cast<long>(pause % second)};
    ppoll(ends.data(), ends.size(), &timeout, nullptr);
    if (s.system)
      s.system->update();
    else if (s.session->alive())
      s.refresh();
    step = second;
  }
  s.end_ns = monotonic_ns();
}

Result<Profile> Recorder::finish() {
  State& s = *state_;
  if (!s.end_ns) s.end_ns = monotonic_ns();
  auto profile = s.system ? s.system->finish() : s.finish();
  if (!profile) return profile;
  profile->start_unix_ns = s.start_unix_ns;
  profile->duration_ns = s.end_ns - s.start_ns;
  utsname system{};
  uname(&system);
  profile->host = system.nodename;
  profile->kernel = std::string(system.release) + " " + system.machine;
  profile->command = s.command;
  profile->tier = session().options().tier == Tier::exact ? "exact" : "sampled";
  return profile;
}

Result<Profile> Recorder::State::finish() {
  refresh();
  for (auto& [pid, entry] : watched)
    if (entry.own.registry) entry.reconciler.before_snapshot(*entry.own.registry, session->attached_ns());
  auto snapshot = session->snapshot();
  if (!snapshot) return tl::unexpected(snapshot.error());
  for (auto& [pid, entry] : watched)
    if (entry.own.registry) entry.reconciler.after_snapshot(*entry.own.registry);
  ProfileBuilder builder(symbols);
  for (const FiberProcess& process : session->options().processes) builder.name_process(process.pid, process.name);

  OpenWaitLimits limits;
  limits.start_ns = snapshot->attached_ns;
  limits.now_ns = snapshot->time_ns;
  limits.min_wait_ns = session->options().min_wait_ns;
  limits.reasons = session->options().reasons;
  limits.fibers = &session->fibers();
  OpenWaitCounts open;
  for (auto& [pid, entry] : watched) {
    if (!entry.own.registry) continue;
    const auto counts = add_open_waits(pid, *entry.own.registry, limits, builder);
    if (!counts) continue;  // it has ended
    open.waits += counts->waits;
    open.torn += counts->torn;
    open.without_stack += counts->without_stack;
  }
  session->detach();
  complete_stacks(*snapshot, symbols);
  builder.add(*snapshot);

  Profile profile = builder.take();
  for (const FiberProcess& process : session->options().processes)
    profile.target +=
        (profile.target.empty() ? "" : ", ") + ("pid " + std::to_string(process.pid)) + " (" + process.name + ")";
  for (const auto& [pid, entry] : watched) {
    if (!entry.own.current) continue;
    profile.counters["fibers_created"] += entry.own.fibers();
    profile.counters["steals"] += entry.own.steals();
    profile.counters["waits_begun"] += entry.own.waits();
  }
  for (const BlockedEntry& entry : snapshot->blocked) {
    profile.counters["waits_ended"] += entry.count;
    profile.counters["events"] += entry.events;
  }
  profile.counters["waits_open"] = open.waits;
  Reconciliation sums;
  if (std::all_of(watched.begin(), watched.end(),
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
