// SPDX-License-Identifier: BSD-2-Clause
#include "cli/top_system.h"

#include <algorithm>
#include <set>
#include <utility>

#include "session/complete_stacks.h"

namespace fiberprof {
namespace {

constexpr uint64_t kKeepEndedNs = 5'000'000'000;
constexpr uint64_t kMaxFibers = 1'000'000;  // looked at in each process; what lies beyond shows as "+"

struct Sums {
  uint64_t blocked_ns = 0, queued_ns = 0, waits = 0, kernel_ns = 0;
  std::map<uint32_t, std::pair<uint64_t, uint64_t>> queues;  // by processor: ticks, sum of depths
};

Sums sums_of(const Snapshot& snapshot) {
  Sums sums;
  for (const BlockedEntry& entry : snapshot.blocked) {
    sums.blocked_ns += entry.parked_ns + entry.queued_ns;
    sums.queued_ns += entry.queued_ns;
    sums.waits += entry.count;
  }
  for (const OffCpuEntry& entry : snapshot.off_cpu)
    if (entry.on_fiber) sums.kernel_ns += entry.total_ns;
  for (const QueueEntry& entry : snapshot.queues) sums.queues[entry.processor] = {entry.ticks, entry.depth_sum};
  return sums;
}

uint64_t since(uint64_t now, uint64_t before) { return now - std::min(now, before); }

}  // namespace

// One program of the table, looked into.
class ProgramSource final : public TopSource {
 public:
  ProgramSource(TopSystem& system, uint64_t serial)
      : system_(system),
        serial_(serial),
        program_(seen().program),
        builder_(program_->process.pid, program_->process.name, system.exact_) {
    system_.looked_into_ = serial;
    system_.looked_into_ns_ = system_.read_ns_;
    builder_.update(seen().previous, seen().previous_summary, seen().previous_census);
    take();
  }
  ~ProgramSource() override { system_.looked_into_ = 0; }

  Result<void> refresh() override {
    if (auto read = system_.refresh(); !read) return read;
    if (system_.seen_.count(serial_) != 0) take();
    return {};
  }
  TopModel model(TopBuilder::Group group, bool since_start) override {
    TopModel model = builder_.model(
        [this](uint32_t, const std::vector<uint64_t>& addresses) {
          return program_->symbols->stack(addresses, !system_.all_frames_);
        },
        group, since_start);
    model.ended = program_->ended;
    const auto found = system_.seen_.find(serial_);
    model.fibers_awaited = found != system_.seen_.end() && found->second.registry != nullptr && !model.ended;
    return model;
  }
  void reset() override { builder_.reset(); }
  bool alive() const override { return !program_->ended; }
  std::vector<int> fds() const override { return {system_.fd()}; }
  bool woken() override {
    const bool before = program_->ended;
    system_.update();
    return program_->ended != before;
  }

 private:
  TopSystem::Seen& seen() { return system_.seen_.at(serial_); }
  void take() {
    Snapshot snapshot = seen().latest;
    snapshot.losses = system_.table_.losses;
    std::map<uint32_t, std::unique_ptr<ProcessSymbols>> symbols;
    auto& own = symbols[program_->process.pid];
    own = std::move(program_->symbols);
    complete_stacks(snapshot, symbols);
    program_->symbols = std::move(own);
    builder_.update(std::move(snapshot), seen().summary, seen().census);
  }

  TopSystem& system_;
  uint64_t serial_;
  std::shared_ptr<Program> program_;
  TopBuilder builder_;
};

Result<std::unique_ptr<TopSystem>> TopSystem::start(SessionOptions options, bool all_frames) {
  const bool exact = options.tier == Tier::exact;
  auto watch = SystemWatch::start(std::move(options));
  if (!watch) return tl::unexpected(watch.error());
  std::unique_ptr<TopSystem> top(new TopSystem(std::move(*watch), exact, all_frames));
  top->table_.exact = top->exact_;
  return top;
}

void TopSystem::take_in(SystemWatch::Part& part, uint64_t now, std::set<uint64_t>& fresh) {
  const auto [at, added] = seen_.try_emplace(part.program->serial);
  Seen& seen = at->second;
  if (added) {
    seen.program = part.program;
    seen.latest.time_ns = seen.latest.attached_ns = read_ns_;
  }
  seen.previous = std::exchange(seen.latest, std::move(part.snapshot));
  seen.latest.time_ns = now;
  seen.latest.attached_ns = attached_ns_;
  fresh.insert(part.program->serial);
}

// All registries together in the time that counting one process's fibers may take. The queues of the one that is shown
// by itself are read each time, which takes some microseconds.
void TopSystem::read_registry(uint64_t serial, Seen& seen) {
  seen.previous_summary = std::exchange(seen.summary, std::nullopt);
  seen.previous_census = std::exchange(seen.census, std::nullopt);
  const FiberProcess& process = seen.program->process;
  if (seen.program->ended || process.registry_address == 0) return;
  if (!std::exchange(seen.opened, true) || seen.registry == nullptr)
    if (auto registry = RegistryView::open(process.pid, process.registry_address)) seen.registry = std::move(*registry);
  if (seen.registry == nullptr) return;
  const bool just_chosen = serial == looked_into_ && seen.last_census_ns <= looked_into_ns_;
  const bool count = !seen.last_census || just_chosen || pace_.due(read_ns_);
  if (!count && serial != looked_into_) return;
  pace_.measure([&] {
    if (auto summary = seen.registry->summary()) seen.summary = std::move(*summary);
    if (!seen.summary || !count) return;
    if (auto census = take_census(*seen.registry, seen.summary->clock_ns, attached_ns_, kMaxFibers)) {
      seen.last_census = seen.census = std::move(*census);
      seen.last_census_ns = read_ns_;
    }
  });
}

Result<void> TopSystem::refresh() {
  auto reading = watch_->read();
  if (!reading) return tl::unexpected(reading.error());
  const uint64_t now = reading->time_ns;
  if (first_ns_ == 0) first_ns_ = read_ns_ = reading->attached_ns;
  attached_ns_ = reading->attached_ns;
  std::set<uint64_t> fresh;
  for (SystemWatch::Part& part : reading->running) take_in(part, now, fresh);
  for (SystemWatch::Part& part : reading->ended) take_in(part, now, fresh);
  for (const auto& [pid, program] : watch_->running()) {  // nothing counted yet
    SystemWatch::Part part{program, {}};
    if (fresh.count(program->serial) == 0) take_in(part, now, fresh);
  }
  table_.interval_ns = since(now, read_ns_);
  table_.watched_ns = since(now, first_ns_);
  table_.running = watch_->running().size();
  table_.losses = reading->losses;
  table_.rows.clear();
  read_ns_ = now;
  for (auto at = seen_.begin(); at != seen_.end();) {
    Seen& seen = at->second;
    if (seen.program->ended && seen.ended_ns == 0) {
      seen.ended_ns = now;
      ++table_.ended;
    }
    if (seen.ended_ns != 0 && since(now, seen.ended_ns) > kKeepEndedNs) {
      at = seen_.erase(at);
      continue;
    }
    if (fresh.count(at->first) == 0) {  // it has ended: nothing is added any more
      seen.previous = seen.latest;
      seen.latest.time_ns = now;
    }
    read_registry(at->first, seen);
    table_.rows.push_back(row(seen));
    ++at;
  }
  pace_.plan(now);
  for (std::string& warning : watch_->take_warnings()) table_.warnings.push_back(std::move(warning));
  return {};
}

ProcessRow TopSystem::row(const Seen& seen) const {
  const Sums now = sums_of(seen.latest), before = sums_of(seen.previous);
  ProcessRow row;
  row.serial = seen.program->serial;
  row.pid = seen.program->process.pid;
  row.name = seen.program->process.name;
  row.ended = seen.program->ended;
  row.blocked_ns = since(now.blocked_ns, before.blocked_ns);
  row.queued_ns = since(now.queued_ns, before.queued_ns);
  row.waits = since(now.waits, before.waits);
  row.kernel_ns = since(now.kernel_ns, before.kernel_ns);
  for (const auto& [processor, queue] : now.queues) {
    const auto old = before.queues.find(processor);
    const auto [ticks, depth] = old == before.queues.end() ? std::pair<uint64_t, uint64_t>() : old->second;
    if (const uint64_t more = since(queue.first, ticks); more != 0)
      row.queue += static_cast<double>(since(queue.second, depth)) / static_cast<double>(more);
  }
  if (seen.last_census) {
    row.fibers = seen.last_census->total();
    row.fibers_age_ns = since(read_ns_, seen.last_census_ns);
    row.more_fibers = !seen.last_census->complete;
  }
  return row;
}

std::vector<std::string> TopSystem::take_warnings() {
  std::vector<std::string> warnings(table_.warnings.begin() + static_cast<std::ptrdiff_t>(told_),
                                    table_.warnings.end());
  told_ = table_.warnings.size();
  return warnings;
}

std::unique_ptr<TopSource> TopSystem::look_into(uint64_t serial) {
  const auto found = seen_.find(serial);
  if (found == seen_.end()) return nullptr;
  // Its first screen has what is said of this moment, too.
  Seen& seen = found->second;
  if (!seen.summary && seen.registry != nullptr && !seen.program->ended)
    if (auto summary = seen.registry->summary()) seen.summary = std::move(*summary);
  return std::make_unique<ProgramSource>(*this, serial);
}

}  // namespace fiberprof
