// SPDX-License-Identifier: BSD-2-Clause
// The account of the fibers' time within one interval of `top`. A wait that ended in it may have begun long before, and
// others have not ended: what fibers were parked for in the interval is what ended in it, and what the waits in flight
// have grown.
#include <algorithm>

#include "render/top_model.h"
#include "session/names.h"

namespace fiberprof {
namespace {

uint64_t since(uint64_t now, uint64_t before) { return now > before ? now - before : 0; }

}  // namespace

void TopBuilder::add_account(TopModel& model, const Symbolize& symbolize, bool since_start) const {
  const AccountPoint &now = account_latest_, &before = since_start ? account_first_ : account_previous_;
  const Snapshot &latest = now.snapshot, &from = before.snapshot;
  model.account_ns = since(latest.time_ns, from.time_ns);
  AccountBuilder builder;
  const auto spawned = [&](uint32_t pid, uint64_t entry) -> AccountRow& {
    const auto [slot, added] = entries_.try_emplace({pid, entry}, kMainFiber);
    if (added && entry != 0) {
      const std::vector<Frame>& frames = symbolize(pid, {entry});
      if (!frames.empty()) slot->second = frames.back().function;
    }
    return builder.row(pid, process_, slot->second);
  };

  // Signed: a wait that ended takes its past with it.
  std::map<std::pair<AccountRow*, uint8_t>, int64_t> parked;
  const auto add_ended = [&](const Snapshot& snapshot, int sign) {
    for (const BlockedEntry& entry : snapshot.blocked)
      parked[{&builder.row(entry.pid, process_, text_of(entry.pid, entry.stack, symbolize).site), entry.reason}] +=
          sign * static_cast<int64_t>(entry.parked_ns);
  };
  const auto add_open = [&](const std::vector<OpenWaitSum>& waits, int sign) {
    for (const OpenWaitSum& open : waits)
      parked[{&spawned(pid_, open.entry), open.reason}] += sign * static_cast<int64_t>(open.total_ns);
  };
  add_ended(latest, 1);
  add_ended(from, -1);
  add_open(now.open, 1);
  add_open(before.open, -1);
  for (const auto& [key, ns] : parked)
    if (ns > 0) key.first->parked_ns[reason_name(key.second)] += static_cast<uint64_t>(ns);

  std::map<std::pair<uint32_t, uint64_t>, uint64_t> queued_before;
  for (const QueuedEntry& entry : from.queued) queued_before[{entry.pid, entry.fiber_entry}] = entry.total_ns;
  for (const QueuedEntry& entry : latest.queued)
    spawned(entry.pid, entry.fiber_entry).queued_ns +=
        since(entry.total_ns, queued_before[{entry.pid, entry.fiber_entry}]);

  const auto add_off_cpu = [&](const Snapshot& snapshot, bool add) {
    for (const OffCpuEntry& entry : snapshot.off_cpu) {
      if (!entry.on_fiber) continue;
      AccountRow& row = spawned(entry.pid, entry.fiber_entry);
      const auto count = [&](uint64_t& part, uint64_t ns) { part = add ? part + ns : since(part, ns); };
      const uint64_t runnable = entry.cause == OffCpuCause::preempted ? entry.total_ns : entry.runnable_ns;
      count(row.preempted_ns, runnable);
      if (entry.cause != OffCpuCause::preempted)
        count(row.kernel_ns[off_cpu_name(entry)], since(entry.total_ns, runnable));
    }
  };
  add_off_cpu(latest, true);
  add_off_cpu(from, false);

  // Samples of the interval divide up the exact time of the interval.
  std::map<std::pair<uint32_t, uint64_t>, uint64_t> samples;
  for (const OnCpuEntry& entry : latest.on_cpu)
    if (entry.on_fiber) samples[{entry.pid, entry.fiber_entry}] += entry.samples;
  for (const OnCpuEntry& entry : from.on_cpu)
    if (entry.on_fiber) samples[{entry.pid, entry.fiber_entry}] -= entry.samples;
  for (const auto& [key, count] : samples) {
    const auto old = from.worker_times.find(key.first);
    const WorkerTime all = latest.worker_times.at(key.first);
    const WorkerTime past = old == from.worker_times.end() ? WorkerTime{} : old->second;
    WorkerTime between;
    between.on_cpu_ns = since(all.on_cpu_ns, past.on_cpu_ns);
    between.samples = since(all.samples, past.samples);
    spawned(key.first, key.second).running_ns += between.ns_of(count);
  }

  uint64_t lived_us = 0;
  for (const auto& [pid, counters] : latest.counters) {
    const auto old = from.counters.find(pid);
    lived_us += since(counters.fiber_us, old == from.counters.end() ? 0 : old->second.fiber_us);
  }
  model.account = builder.take(lived_us * 1000);
}

void TopBuilder::add_delays(TopModel& model, const Snapshot& from) const {
  DelayHistogram delays{};
  for (const auto& [pid, histogram] : latest_.delays) {
    const auto before = from.delays.find(pid);
    const DelayHistogram more = before == from.delays.end() ? histogram : difference(histogram, before->second);
    for (size_t i = 0; i < delays.size(); ++i) delays[i] += more[i];
  }
  model.delays = percentiles(delays);
}

}  // namespace fiberprof
