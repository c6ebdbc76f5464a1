// SPDX-License-Identifier: BSD-2-Clause
// The account of the fibers' time within one interval of `top`. A wait that ended in it may have begun long before, and
// others have not ended: what fibers were parked for in the interval is what ended in it, and what the waits in flight
// have grown.
#include <algorithm>
#include <map>

#include "render/earlier.h"
#include "render/top_model.h"
#include "session/names.h"

namespace fiberprof {

void TopBuilder::add_account(TopModel& model, const Symbolize& symbolize, bool since_start) const {
  const AccountPoint &now = account_latest_, &before = since_start ? account_first_ : account_previous_;
  const Snapshot &latest = *now.snapshot, &from = *before.snapshot;
  model.account_ns = since(latest.time_ns, from.time_ns);
  if (known_account_.points == points_ && known_account_.since_start == since_start) {
    model.account = known_account_.account;
    return;
  }
  AccountBuilder builder;
  std::map<std::pair<uint32_t, uint64_t>, AccountRow*> rows;
  const auto spawned = [&](uint32_t pid, uint64_t entry) -> AccountRow& {
    AccountRow*& row = rows[{pid, entry}];
    if (row == nullptr) row = &builder.row(pid, process_, spawned_name(pid, entry, symbolize));
    return *row;
  };

  // Signed: a wait that ended takes its past with it.
  std::map<std::pair<AccountRow*, uint8_t>, int64_t> parked;
  Earlier blocked(from.blocked, blocked_key);
  std::vector<AccountRow*> sites;
  int64_t* sum = nullptr;  // neighbours tend to be alike
  std::pair<AccountRow*, uint8_t> sum_key;
  for (size_t place = 0; place < latest.blocked.size(); ++place) {
    const BlockedEntry& entry = latest.blocked[place];
    const auto more = static_cast<int64_t>(entry.parked_ns - blocked.of(entry).parked_ns);
    if (more == 0) continue;
    const EntryRow& of = rows_.at(rows_.of(place, entry, shown_, latest.stacks, symbolize));
    if (of.site >= sites.size()) sites.resize(rows_.sites());
    if (sites[of.site] == nullptr) sites[of.site] = &builder.row(of.pid, process_, of.shown->site);
    const std::pair key(sites[of.site], entry.reason);
    if (sum == nullptr || key != sum_key) {
      sum = &parked[key];
      sum_key = key;
    }
    *sum += more;
  }
  const auto add_open = [&](const std::vector<OpenWaitSum>& waits, int sign) {
    for (const OpenWaitSum& open : waits)
      parked[{&spawned(pid_, open.entry), open.reason}] += sign * static_cast<int64_t>(open.total_ns);
  };
  add_open(now.open, 1);
  add_open(before.open, -1);
  for (const auto& [key, ns] : parked)
    if (ns > 0) key.first->parked_ns[reason_name(key.second)] += static_cast<uint64_t>(ns);

  std::map<std::pair<uint32_t, uint64_t>, uint64_t> queued_before;
  for (const QueuedEntry& entry : from.queued) queued_before[{entry.pid, entry.fiber_entry}] = entry.total_ns;
  for (const QueuedEntry& entry : latest.queued)
    spawned(entry.pid, entry.fiber_entry).queued_ns +=
        since(entry.total_ns, queued_before[{entry.pid, entry.fiber_entry}]);

  const auto runnable = [](const OffCpuEntry& entry) {
    return entry.cause == OffCpuCause::preempted ? entry.total_ns : std::min(entry.runnable_ns, entry.total_ns);
  };
  Earlier off_cpu(from.off_cpu, off_cpu_key);
  for (const OffCpuEntry& entry : latest.off_cpu) {
    if (!entry.on_fiber) continue;
    const OffCpuEntry& last = off_cpu.of(entry);
    if (entry.total_ns == last.total_ns) continue;
    AccountRow& row = spawned(entry.pid, entry.fiber_entry);
    row.preempted_ns += since(runnable(entry), runnable(last));
    if (entry.cause != OffCpuCause::preempted)
      row.kernel_ns[off_cpu_name(entry)] += since(entry.total_ns - runnable(entry), last.total_ns - runnable(last));
  }

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
  known_account_ = {points_, since_start, model.account};
}

void TopBuilder::add_delays(TopModel& model, const Snapshot& from) const {
  DelayHistogram delays{};
  for (const auto& [pid, histogram] : latest_->delays) {
    const auto before = from.delays.find(pid);
    const DelayHistogram more = before == from.delays.end() ? histogram : difference(histogram, before->second);
    for (size_t i = 0; i < delays.size(); ++i) delays[i] += more[i];
  }
  model.delays = percentiles(delays);
}

}  // namespace fiberprof
