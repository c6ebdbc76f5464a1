// SPDX-License-Identifier: BSD-2-Clause
#include "render/top_model.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <tuple>

#include "render/earlier.h"
#include "render/names.h"
#include "session/names.h"

namespace fiberprof {
namespace {

// Of queue depth, for the sparkline: a minute, unless refreshes come so often that it would be more than these.
constexpr uint64_t kHistoryNs = 60'000'000'000;
constexpr size_t kMostHistory = 600;

}  // namespace

Result<FiberCensus> take_census(RegistryView& registry, uint64_t clock_ns, uint64_t attached_ns, uint64_t limit) {
  FiberCensus census;
  std::map<std::pair<uint64_t, uint8_t>, uint64_t> open;
  std::array<ParkedFibers, 256> parked{};
  uint64_t seen = 0;
  std::pair<uint64_t, uint8_t> last_key;
  uint64_t* last = nullptr;  // neighbours tend to be alike
  const Result<uint64_t> torn = registry.glance(
      [&](const FiberGlance& fiber) {
        ++seen;
        switch (fiber.state) {
          case FIBERPROF_FIBER_RUNNING:
            ++census.running;
            break;
          case FIBERPROF_FIBER_RUNNABLE:
            ++census.runnable;
            break;
          case FIBERPROF_FIBER_BLOCKING:
            ++census.blocking;
            break;
          case FIBERPROF_FIBER_PARKED: {
            ++census.parked;
            ParkedFibers& by = parked[fiber.reason];
            ++by.count;
            census.endless += fiber.deadline_ns == 0;
            by.oldest_ns = std::max(by.oldest_ns, since(clock_ns, fiber.since_ns));
            const std::pair key(fiber.entry, fiber.reason);
            if (last == nullptr || key != last_key) {
              last = &open[key];
              last_key = key;
            }
            *last += since(clock_ns, std::max(fiber.since_ns, attached_ns));
            break;
          }
          default:
            break;
        }
      },
      limit);
  if (!torn) return tl::unexpected(torn.error());
  census.torn = *torn;
  census.complete = seen < limit;
  for (const auto& [key, total_ns] : open) census.open.push_back({key.first, key.second, total_ns});
  for (size_t reason = 0; reason < parked.size(); ++reason) {
    if (parked[reason].count == 0) continue;
    parked[reason].reason = reason_name(static_cast<uint8_t>(reason));
    census.parked_by.push_back(std::move(parked[reason]));
  }
  std::stable_sort(census.parked_by.begin(), census.parked_by.end(),
                   [](const ParkedFibers& a, const ParkedFibers& b) { return a.count > b.count; });
  return census;
}

void TopBuilder::update(Snapshot snapshot, std::optional<RegistrySummary> summary, std::optional<FiberCensus> census) {
  if (first_ == nullptr) {
    // What was counted between the attach and the first look belongs to the first interval.
    Snapshot attach;
    attach.time_ns = attach.attached_ns = snapshot.attached_ns;
    first_ = previous_ = std::make_shared<const Snapshot>(std::move(attach));
    first_summary_ = previous_summary_ = summary;
    account_first_ = account_latest_ = {first_, {}};
  } else {
    previous_ = std::move(latest_);
    previous_summary_ = summary_;
  }
  latest_ = std::make_shared<const Snapshot>(std::move(snapshot));
  summary_ = std::move(summary);
  // A process that cannot be read has no waits in flight that anybody knows of.
  if (census || !census_) {
    ++points_;
    account_previous_ = std::move(account_latest_);
    account_latest_ = {latest_, census ? census->open : std::vector<OpenWaitSum>()};
  }
  if (census) {
    census_ = std::move(census);
    census_ns_ = latest_->time_ns;
  }
  Earlier before(previous_->queues, queue_key);
  for (const QueueEntry& queue : latest_->queues) {
    const QueueEntry& last = before.of(queue);
    const uint64_t ticks = since(queue.ticks, last.ticks);
    if (ticks == 0) continue;
    std::deque<double>& means = history_[{queue.pid, queue.processor}].means;
    means.push_back(static_cast<double>(since(queue.depth_sum, last.depth_sum)) / static_cast<double>(ticks));
    const uint64_t interval = std::max<uint64_t>(since(latest_->time_ns, previous_->time_ns), 1);
    const size_t most = std::clamp<size_t>(kHistoryNs / interval, 1, kMostHistory);
    while (means.size() > most) means.pop_front();
  }
}

void TopBuilder::reset() {
  first_ = latest_;
  first_summary_ = summary_;
  account_first_ = account_latest_;
  ++points_;
  history_.clear();
}

const TopBuilder::Shared& TopBuilder::base(bool since_start) const {
  // Just after a reset the interval before it must not come back.
  return since_start || first_->time_ns > previous_->time_ns ? first_ : previous_;
}

TopModel TopBuilder::model(const Symbolize& symbolize, Group group, bool since_start) const {
  if (shown_.tidy()) rows_.clear();
  const bool from_start = base(since_start) == first_;
  const Snapshot& from = *base(since_start);
  TopModel model;
  model.process = process_;
  model.pid = pid_;
  model.exact = exact_;
  model.since_start = since_start;
  model.interval_ns = since(latest_->time_ns, from.time_ns);
  model.watched_ns = since(latest_->time_ns, first_->time_ns);
  model.fibers = census_;
  if (census_) model.fibers_age_ns = since(latest_->time_ns, census_ns_);
  model.losses = latest_->losses;
  model.now = latest_;
  model.before = base(since_start);
  if (summary_) {
    const std::optional<RegistrySummary>& old = from_start ? first_summary_ : previous_summary_;
    model.fibers_created = since(summary_->fibers_created, old ? old->fibers_created : summary_->fibers_created);
    model.global_queue = summary_->global_queue_depth;
    const auto steals = [](const RegistrySummary& summary) {
      uint64_t sum = 0;
      for (const ProcessorInfo& processor : summary.processors) sum += processor.steals;
      return sum;
    };
    model.steals = since(steals(*summary_), old ? steals(*old) : steals(*summary_));
  }
  for (const auto& [pid, counters] : latest_->counters) {
    const auto found = from.counters.find(pid);
    const ProcessCounters old = found == from.counters.end() ? ProcessCounters{} : found->second;
    model.handoffs += since(counters.handoffs, old.handoffs);
    model.overruns += since(counters.overruns, old.overruns);
    model.worker_starts += since(counters.worker_starts, old.worker_starts);
  }
  add_stacks(model, from, symbolize, group);
  add_kernel(model, from, symbolize);
  add_account(model, symbolize, from_start);
  add_delays(model, from);
  add_workers(model, from);
  add_processors(model, from);
  return model;
}

const std::string& TopBuilder::spawned_name(uint32_t pid, uint64_t entry, const Symbolize& symbolize) const {
  const auto [slot, added] = entries_.try_emplace({pid, entry}, kMainFiber);
  if (added && entry != 0)
    if (const std::vector<Frame> frames = symbolize(pid, {entry}); !frames.empty())
      slot->second = frames.back().function;
  return slot->second;
}

void TopBuilder::add_kernel(TopModel& model, const Snapshot& from, const Symbolize& symbolize) const {
  static const auto kNone = std::make_shared<const ShownStack>();
  static const std::string kNoFiber = "(scheduler)", kUnknown = "(fiber)";
  std::map<std::tuple<OffCpuCause, int32_t, uint32_t>, std::string> causes;
  std::map<std::tuple<std::string_view, bool, std::string_view>, size_t> rows;  // of strings that stay
  Earlier before(from.off_cpu, off_cpu_key);
  for (const OffCpuEntry& entry : latest_->off_cpu) {
    const OffCpuEntry& last = before.of(entry);
    const uint64_t total = since(entry.total_ns, last.total_ns);
    if (total == 0) continue;
    if (is_idle(entry)) {
      model.idle_ns += total;
      continue;
    }
    const auto& shown = entry.on_fiber ? shown_.of(entry.pid, entry.user_stack, latest_->stacks, symbolize) : kNone;
    // A library's function says less than the program's that called it, and `cause` has named the call.
    const std::string& function = !entry.on_fiber            ? kNoFiber
                                  : !shown->function.empty() ? shown->function
                                  : entry.fiber_entry != 0   ? spawned_name(entry.pid, entry.fiber_entry, symbolize)
                                                             : kUnknown;
    std::string& cause = causes[{entry.cause, entry.syscall, entry.futex_op}];
    if (cause.empty()) cause = off_cpu_name(entry);
    const auto [slot, inserted] = rows.try_emplace({cause, entry.on_fiber, function}, model.kernel.size());
    if (inserted) {
      TopKernelWait row;
      row.cause = cause;
      row.on_fiber = entry.on_fiber;
      row.function = function;
      row.shown = shown;
      model.kernel.push_back(std::move(row));
    }
    TopKernelWait& row = model.kernel[slot->second];
    row.count += since(entry.count, last.count);
    row.total_ns += total;
    row.max_ns = std::max(row.max_ns, entry.max_ns);
  }
  std::stable_sort(model.kernel.begin(), model.kernel.end(), [](const TopKernelWait& a, const TopKernelWait& b) {
    // What a fiber lost comes before what the scheduler lost between two fibers.
    return std::make_pair(a.on_fiber, a.total_ns) > std::make_pair(b.on_fiber, b.total_ns);
  });
}

void TopBuilder::add_workers(TopModel& model, const Snapshot& from) const {
  TopWorkers& workers = model.workers;
  workers.runnable.resize(kHistogramBuckets);
  for (const auto& [pid, time] : latest_->worker_times) {
    const auto found = from.worker_times.find(pid);
    const WorkerTime last = found == from.worker_times.end() ? WorkerTime{} : found->second;
    workers.on_cpu_ns += since(time.on_cpu_ns, last.on_cpu_ns);
    workers.runnable_ns += since(time.runnable_ns, last.runnable_ns);
    workers.samples += since(time.samples, last.samples);
    workers.fiber_samples += since(time.fiber_samples, last.fiber_samples);
    workers.max_runnable_ns = std::max(workers.max_runnable_ns, time.max_runnable_ns);
    for (size_t i = 0; i < time.runnable.size(); ++i) workers.runnable[i] += since(time.runnable[i], last.runnable[i]);
  }
}

void TopBuilder::add_processors(TopModel& model, const Snapshot& from) const {
  Earlier before(from.queues, queue_key);
  std::map<std::pair<uint32_t, uint32_t>, TopProcessor> processors;
  if (summary_) {  // the registry knows processors that had no tick yet, and the state right now
    for (const ProcessorInfo& info : summary_->processors) {
      TopProcessor& row = processors[{pid_, info.index}];
      row.state = processor_state_name(info.state);
      row.depth = info.queue_depth;
    }
  }
  for (const QueueEntry& queue : latest_->queues) {
    const bool known = processors.count({queue.pid, queue.processor}) != 0;
    TopProcessor& row = processors[{queue.pid, queue.processor}];
    if (!known) row.depth = queue.last_depth;
    const QueueEntry& last = before.of(queue);
    row.max_depth = queue.depth_max;
    const double ticks = static_cast<double>(since(queue.ticks, last.ticks));
    if (ticks > 0) {
      row.mean_depth = static_cast<double>(since(queue.depth_sum, last.depth_sum)) / ticks;
      const auto idle = [](const QueueEntry& entry) { return entry.state_ticks[FIBERPROF_PROCESSOR_IDLE]; };
      row.idle = static_cast<double>(since(idle(queue), idle(last))) / ticks;
      if (!known) row.state = row.idle > 0.5 ? "idle" : "running";
    }
    const auto history = history_.find({queue.pid, queue.processor});
    if (history != history_.end()) row.history.assign(history->second.means.begin(), history->second.means.end());
  }
  for (auto& [key, row] : processors) {
    row.pid = key.first;
    row.index = key.second;
    model.processors.push_back(std::move(row));
  }
}

}  // namespace fiberprof
