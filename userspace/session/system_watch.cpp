// SPDX-License-Identifier: BSD-2-Clause
#include "session/system_watch.h"

#include <sys/resource.h>

#include <algorithm>
#include <utility>

namespace fiberprof {
namespace {

// Deals the entries of a snapshot out to the programs they belong to.
class Dealer {
 public:
  Dealer(const Snapshot& whole, const Discovery::Programs& running, const std::vector<std::shared_ptr<Program>>& ended)
      : whole_(whole) {
    for (const auto& program : ended) candidates_[program->process.pid].push_back(program);
    for (const auto& [pid, program] : running) candidates_[pid].push_back(program);
  }

  // By the outermost frame: the inner ones may be in a library that two programs of a process have at the same place.
  Snapshot* of(uint32_t pid, StackId stack) {
    const auto* addresses = whole_.stacks.find(stack);
    return of_code(pid, addresses == nullptr || addresses->empty() ? 0 : addresses->back());
  }

  // A process that has replaced its program has several: the one that has this code, else the first.
  Snapshot* of_code(uint32_t pid, uint64_t address) {
    const auto found = candidates_.find(pid);
    if (found == candidates_.end()) return nullptr;
    const auto& programs = found->second;
    const auto owner = std::find_if(programs.begin(), programs.end(),
                                    [&](const auto& program) { return program->symbols->has_code_at(address); });
    auto& part = parts_[owner == programs.end() ? programs.front() : *owner];
    part.time_ns = whole_.time_ns;
    part.attached_ns = whole_.attached_ns;
    part.stacks = whole_.stacks;
    return &part;
  }

  std::map<std::shared_ptr<Program>, Snapshot>& parts() { return parts_; }

 private:
  const Snapshot& whole_;
  std::map<uint32_t, std::vector<std::shared_ptr<Program>>> candidates_;
  std::map<std::shared_ptr<Program>, Snapshot> parts_;
};

}  // namespace

void raise_file_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

Result<std::unique_ptr<SystemWatch>> SystemWatch::start(SessionOptions options) {
  raise_file_limit();
  auto discovery = Discovery::start();
  if (!discovery) return tl::unexpected(discovery.error());
  options.processes.clear();
  options.all_of_binary = true;
  auto session = Session::start(std::move(options));
  if (!session) return tl::unexpected(session.error());
  std::unique_ptr<SystemWatch> watch(new SystemWatch(std::move(*discovery), std::move(*session)));
  watch->update();
  return watch;
}

void SystemWatch::adopt(const Program& program) {
  const auto adopted = session_.adopt(program.process);
  const std::string& binary = program.process.binary_path;
  if (!adopted && !program.ended && warned_.insert(binary).second)
    warnings_.push_back(binary + ": " + adopted.error().message());
  if (program.process.registry_address == 0 && warned_.insert(binary + " registry").second)
    warnings_.push_back(binary + " has no registry: workers that ran before it was found are not seen off their CPU");
}

void SystemWatch::update() {
  auto changes = discovery_.update();
  for (const auto& program : changes.started) adopt(*program);
  for (auto& program : changes.ended) {
    const auto now = running().find(program->process.pid);
    if (now == running().end()) session_.release(program->process.pid);
    ended_.push_back(std::move(program));
  }
  for (std::string& warning : discovery_.take_warnings()) warnings_.push_back(std::move(warning));
  for (; session_warnings_ < session_.warnings().size(); ++session_warnings_)
    warnings_.push_back(session_.warnings()[session_warnings_]);
}

Result<SystemWatch::Reading> SystemWatch::read() {
  update();
  const auto over = std::exchange(ended_, {});  // nothing is counted of these any more
  auto whole = session_.snapshot();
  if (!whole) {
    ended_.insert(ended_.begin(), over.begin(), over.end());
    return tl::unexpected(whole.error());
  }
  for (const BlockedEntry& entry : whole->blocked) discovery_.adopt_fork(entry.pid);
  update();  // those that came meanwhile; those that have ended meanwhile wait for the next time
  auto ended = over;
  ended.insert(ended.end(), ended_.begin(), ended_.end());
  Dealer dealer(*whole, running(), ended);
  Reading reading;
  reading.losses = whole->losses;
  reading.time_ns = whole->time_ns;
  reading.attached_ns = whole->attached_ns;
  for (const BlockedEntry& entry : whole->blocked) {
    Snapshot* part = dealer.of(entry.pid, entry.stack);
    if (part == nullptr) {
      reading.unknown += entry.count;
      continue;
    }
    part->blocked.push_back(entry);
  }
  for (const OffCpuEntry& entry : whole->off_cpu)
    if (Snapshot* part = dealer.of(entry.pid, entry.user_stack)) part->off_cpu.push_back(entry);
  for (const OnCpuEntry& entry : whole->on_cpu)
    if (Snapshot* part = dealer.of(entry.pid, entry.user_stack)) part->on_cpu.push_back(entry);
  for (const auto& [pid, time] : whole->worker_times)
    if (Snapshot* part = dealer.of(pid, 0)) part->worker_times.emplace(pid, time);
  for (const QueueEntry& entry : whole->queues)
    if (Snapshot* part = dealer.of(entry.pid, 0)) part->queues.push_back(entry);
  for (const QueuedEntry& entry : whole->queued)
    if (Snapshot* part = dealer.of_code(entry.pid, entry.fiber_entry)) part->queued.push_back(entry);
  for (const auto& [pid, histogram] : whole->delays)
    if (Snapshot* part = dealer.of(pid, 0)) part->delays.emplace(pid, histogram);
  for (const auto& [pid, counters] : whole->counters)
    if (Snapshot* part = dealer.of(pid, 0)) part->counters.emplace(pid, counters);

  Snapshot gone;
  for (auto& [program, part] : dealer.parts()) {
    const bool is_over = std::find(over.begin(), over.end(), program) != over.end();
    if (is_over) {
      gone.blocked.insert(gone.blocked.end(), part.blocked.begin(), part.blocked.end());
      gone.off_cpu.insert(gone.off_cpu.end(), part.off_cpu.begin(), part.off_cpu.end());
      gone.on_cpu.insert(gone.on_cpu.end(), part.on_cpu.begin(), part.on_cpu.end());
      gone.worker_times.insert(part.worker_times.begin(), part.worker_times.end());
      gone.queues.insert(gone.queues.end(), part.queues.begin(), part.queues.end());
      gone.queued.insert(gone.queued.end(), part.queued.begin(), part.queued.end());
      gone.delays.insert(part.delays.begin(), part.delays.end());
      gone.counters.insert(part.counters.begin(), part.counters.end());
    }
    (is_over ? reading.ended : reading.running).push_back({program, std::move(part)});
  }
  if (!reading.ended.empty()) session_.forget(gone);
  return reading;
}

std::vector<std::string> SystemWatch::take_warnings() { return std::exchange(warnings_, {}); }

}  // namespace fiberprof
