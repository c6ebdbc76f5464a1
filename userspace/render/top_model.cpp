// SPDX-License-Identifier: BSD-2-Clause
#include "render/top_model.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <array>
#include <tuple>
#include <unordered_map>

#include "render/names.h"
#include "render/stack_view.h"
#include "session/names.h"

namespace fiberprof {
namespace {

// Of queue depth, for the sparkline: a minute, unless refreshes come so often that it would be more than these.
constexpr uint64_t kHistoryNs = 60'000'000'000;
constexpr size_t kMostHistory = 600;

// Counters only grow, but two reads of per-CPU values may cross: never go below zero.
uint64_t since(uint64_t now, uint64_t before) { return now > before ? now - before : 0; }

template <class Key, class Entry, class MakeKey>
std::map<Key, const Entry*> index_of(const std::vector<Entry>& entries, MakeKey make_key) {
  std::map<Key, const Entry*> index;
  for (const Entry& entry : entries) index[make_key(entry)] = &entry;
  return index;
}

auto blocked_key(const BlockedEntry& entry) { return std::make_tuple(entry.pid, entry.reason, entry.stack); }

auto off_cpu_key(const OffCpuEntry& entry) {
  return std::make_tuple(entry.pid, entry.cause, entry.on_fiber, entry.syscall, entry.futex_op, entry.fiber_entry,
                         entry.user_stack, entry.kernel_stack);
}

auto queue_key(const QueueEntry& entry) { return std::make_tuple(entry.pid, entry.processor); }

template <class Key, class Entry>
const Entry& find(const std::map<Key, const Entry*>& index, const Key& key) {
  static const Entry kNone{};
  const auto found = index.find(key);
  return found == index.end() ? kNone : *found->second;
}

const std::vector<uint64_t>& addresses(const Snapshot& snapshot, StackId stack) {
  static const std::vector<uint64_t> kNone;
  const auto found = snapshot.stacks.find(stack);
  return found == snapshot.stacks.end() ? kNone : found->second;
}

std::string frames_key(const std::vector<Frame>& frames) {
  std::string key;
  for (const Frame& frame : frames) key += frame.function + "\x1f" + std::to_string(frame.line) + "\x1e";
  return key;
}

// As fiber_of() of a recording: the program's outermost function. Empty: there is no stack.
std::string site_of(const std::vector<Frame>& frames) {
  if (frames.empty()) return {};
  for (auto frame = frames.rbegin(); frame != frames.rend(); ++frame)
    if (!is_library(frame->function, frame->binary, frame->runtime)) return frame->function;
  return kMainFiber;
}

size_t culprit_of(const std::vector<Frame>& frames) {
  return culprit(frames.size(),
                 [&](size_t i) { return is_library(frames[i].function, frames[i].binary, frames[i].runtime); });
}

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
  if (!any_) {
    // What was counted between the attach and the first look belongs to the first interval.
    previous_ = Snapshot{};
    previous_.time_ns = previous_.attached_ns = snapshot.attached_ns;
    first_ = previous_;
    first_summary_ = previous_summary_ = summary;
    account_first_ = account_latest_ = {previous_, {}};
    any_ = true;
  } else {
    previous_ = std::move(latest_);
    previous_summary_ = summary_;
  }
  latest_ = std::move(snapshot);
  summary_ = std::move(summary);
  // A process that cannot be read has no waits in flight that anybody knows of.
  if (census || !census_) {
    account_previous_ = std::move(account_latest_);
    account_latest_ = {latest_, census ? census->open : std::vector<OpenWaitSum>()};
  }
  if (census) census_ = std::move(census);
  const auto before = index_of<std::tuple<uint32_t, uint32_t>>(previous_.queues, queue_key);
  for (const QueueEntry& queue : latest_.queues) {
    const QueueEntry& last = find(before, queue_key(queue));
    const uint64_t ticks = since(queue.ticks, last.ticks);
    if (ticks == 0) continue;
    std::deque<double>& means = history_[{queue.pid, queue.processor}].means;
    means.push_back(static_cast<double>(since(queue.depth_sum, last.depth_sum)) / static_cast<double>(ticks));
    const uint64_t interval = std::max<uint64_t>(since(latest_.time_ns, previous_.time_ns), 1);
    const size_t most = std::clamp<size_t>(kHistoryNs / interval, 1, kMostHistory);
    while (means.size() > most) means.pop_front();
  }
}

void TopBuilder::reset() {
  first_ = latest_;
  first_summary_ = summary_;
  account_first_ = account_latest_;
  history_.clear();
}

const Snapshot& TopBuilder::base(bool since_start) const {
  // Just after a reset the interval before it must not come back.
  return since_start || first_.time_ns > previous_.time_ns ? first_ : previous_;
}

TopModel TopBuilder::model(const Symbolize& symbolize, Group group, bool since_start) const {
  const Snapshot& from = base(since_start);
  TopModel model;
  model.process = process_;
  model.pid = pid_;
  model.exact = exact_;
  model.since_start = since_start;
  model.interval_ns = since(latest_.time_ns, from.time_ns);
  model.watched_ns = since(latest_.time_ns, first_.time_ns);
  model.fibers = census_;
  model.losses = latest_.losses;
  if (summary_) {
    const std::optional<RegistrySummary>& old = &from == &first_ ? first_summary_ : previous_summary_;
    model.fibers_created = since(summary_->fibers_created, old ? old->fibers_created : summary_->fibers_created);
    model.global_queue = summary_->global_queue_depth;
    const auto steals = [](const RegistrySummary& summary) {
      uint64_t sum = 0;
      for (const ProcessorInfo& processor : summary.processors) sum += processor.steals;
      return sum;
    };
    model.steals = since(steals(*summary_), old ? steals(*old) : steals(*summary_));
  }
  for (const auto& [pid, counters] : latest_.counters) {
    const auto found = from.counters.find(pid);
    const ProcessCounters old = found == from.counters.end() ? ProcessCounters{} : found->second;
    model.handoffs += since(counters.handoffs, old.handoffs);
    model.overruns += since(counters.overruns, old.overruns);
    model.worker_starts += since(counters.worker_starts, old.worker_starts);
  }
  add_stacks(model, from, symbolize, group);
  add_kernel(model, from, symbolize);
  add_account(model, symbolize, &from == &first_);
  add_delays(model, from);
  add_workers(model, from);
  add_processors(model, from);
  return model;
}

const TopBuilder::StackText& TopBuilder::text_of(uint32_t pid, StackId stack, const Symbolize& symbolize) const {
  constexpr size_t kMost = 100'000;
  if (texts_.size() > kMost) texts_.clear();
  static const StackText kNone;
  const std::vector<uint64_t>& known = addresses(latest_, stack);
  if (known.empty()) return kNone;
  const auto [slot, added] = texts_.try_emplace({pid, stack});
  if (!added) return slot->second;
  const std::vector<Frame>& frames = symbolize(pid, known);
  slot->second.key = frames_key(frames);
  slot->second.site = site_of(frames);
  return slot->second;
}

void TopBuilder::add_stacks(TopModel& model, const Snapshot& from, const Symbolize& symbolize, Group group) const {
  const auto before = index_of<std::tuple<uint32_t, uint8_t, StackId>>(from.blocked, blocked_key);
  std::unordered_map<std::string, size_t> rows;
  for (const BlockedEntry& entry : latest_.blocked) {
    const BlockedEntry& last = find(before, blocked_key(entry));
    const uint64_t count = since(entry.count, last.count);
    if (count == 0) continue;
    std::string key = std::to_string(entry.pid) + "/" + std::to_string(entry.reason) + "/";
    // Addresses differ where text does not: two calls on one line, two copies of an inlined function.
    if (group == Group::stack) key += text_of(entry.pid, entry.stack, symbolize).key;
    const auto [slot, inserted] = rows.try_emplace(key, model.stacks.size());
    if (inserted) {
      TopStack row;
      row.key = key;
      row.reason = reason_name(entry.reason);
      row.pid = entry.pid;
      if (group == Group::stack) row.frames = symbolize(entry.pid, addresses(latest_, entry.stack));
      row.culprit = culprit_of(row.frames);
      row.histogram.resize(kHistogramBuckets);
      model.stacks.push_back(std::move(row));
    }
    TopStack& row = model.stacks[slot->second];
    const uint64_t queued = since(entry.queued_ns, last.queued_ns);
    const uint64_t total = since(entry.parked_ns, last.parked_ns) + queued;
    row.count += count;
    row.total_ns += total;
    row.queued_ns += queued;
    row.max_ns = std::max(row.max_ns, entry.max_ns);
    for (size_t i = 0; i < row.histogram.size(); ++i) row.histogram[i] += since(entry.parked[i], last.parked[i]);
    model.waits += count;
    model.blocked_ns += total;
    model.queued_ns += queued;
  }
  std::stable_sort(model.stacks.begin(), model.stacks.end(),
                   [](const TopStack& a, const TopStack& b) { return a.total_ns > b.total_ns; });
}

void TopBuilder::add_kernel(TopModel& model, const Snapshot& from, const Symbolize& symbolize) const {
  using Key = decltype(off_cpu_key(OffCpuEntry{}));
  const auto before = index_of<Key>(from.off_cpu, off_cpu_key);
  std::map<std::tuple<std::string, bool, std::string>, size_t> rows;
  for (const OffCpuEntry& entry : latest_.off_cpu) {
    const OffCpuEntry& last = find(before, off_cpu_key(entry));
    const uint64_t total = since(entry.total_ns, last.total_ns);
    if (total == 0) continue;
    if (is_idle(entry)) {
      model.idle_ns += total;
      continue;
    }
    std::string function = "(scheduler)";
    if (entry.on_fiber) {
      const std::vector<Frame>& frames = symbolize(entry.pid, addresses(latest_, entry.user_stack));
      // A library's function says less than the program's that called it, and `cause` has named the call.
      const auto program = std::find_if(frames.begin(), frames.end(), [&](const Frame& frame) {
        return !is_library(frame.function, frame.binary, frame.runtime);
      });
      if (program != frames.end()) {
        function = program->function;
      } else if (entry.fiber_entry != 0) {
        const std::vector<Frame>& spawned = symbolize(entry.pid, {entry.fiber_entry});
        function = spawned.empty() ? "(fiber)" : spawned.back().function;
      } else {
        function = "(fiber)";
      }
    }
    const std::string cause = off_cpu_name(entry);
    const auto [slot, inserted] = rows.try_emplace({cause, entry.on_fiber, function}, model.kernel.size());
    if (inserted) {
      TopKernelWait row;
      row.cause = cause;
      row.on_fiber = entry.on_fiber;
      row.function = function;
      if (entry.on_fiber) row.frames = symbolize(entry.pid, addresses(latest_, entry.user_stack));
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
  for (const auto& [pid, time] : latest_.worker_times) {
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
  const auto before = index_of<std::tuple<uint32_t, uint32_t>>(from.queues, queue_key);
  std::map<std::pair<uint32_t, uint32_t>, TopProcessor> processors;
  if (summary_) {  // the registry knows processors that had no tick yet, and the state right now
    for (const ProcessorInfo& info : summary_->processors) {
      TopProcessor& row = processors[{pid_, info.index}];
      row.state = processor_state_name(info.state);
      row.depth = info.queue_depth;
    }
  }
  for (const QueueEntry& queue : latest_.queues) {
    const bool known = processors.count({queue.pid, queue.processor}) != 0;
    TopProcessor& row = processors[{queue.pid, queue.processor}];
    if (!known) row.depth = queue.last_depth;
    const QueueEntry& last = find(before, queue_key(queue));
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
