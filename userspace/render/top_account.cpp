// SPDX-License-Identifier: BSD-2-Clause
// The account of the fibers' time within one interval of `top`. A wait that ended in it may have begun long before, and
// others have not ended: what fibers were parked for in the interval is what ended in it, and what the waits in flight
// have grown.
#include <algorithm>

#include "render/stack_view.h"
#include "render/top_model.h"
#include "session/names.h"

namespace fiberprof {
namespace {

uint64_t since(uint64_t now, uint64_t before) { return now > before ? now - before : 0; }

// As fiber_of() of a recording: the program's outermost function.
std::string site_of(const std::vector<Frame>& frames) {
  for (auto frame = frames.rbegin(); frame != frames.rend(); ++frame)
    if (!is_library(frame->function, frame->binary, frame->runtime)) return frame->function;
  return {};
}

}  // namespace

void TopBuilder::add_account(TopModel& model, const Snapshot& from, const Symbolize& symbolize) const {
  AccountBuilder builder;
  const auto spawned = [&](uint32_t pid, uint64_t entry) -> AccountRow& {
    const std::vector<Frame> frames = entry ? symbolize(pid, {entry}) : std::vector<Frame>();
    return builder.row(pid, process_, frames.empty() ? kMainFiber : frames.back().function);
  };
  const auto stack = [&](const Snapshot& snapshot, StackId id) {
    const auto found = snapshot.stacks.find(id);
    return found == snapshot.stacks.end() ? std::vector<uint64_t>() : found->second;
  };

  // Signed: a wait that ended takes its past with it.
  std::map<std::pair<AccountRow*, std::string>, int64_t> parked;
  const auto add_parked = [&](AccountRow& row, uint8_t reason, uint64_t ns, int sign) {
    parked[{&row, reason_name(reason)}] += sign * static_cast<int64_t>(ns);
  };
  const auto add_open = [&](const std::optional<FiberCensus>& census, int sign) {
    if (!census) return;
    for (const OpenWaitSum& open : census->open)
      add_parked(spawned(pid_, open.entry), open.reason, open.total_ns, sign);
  };
  for (const Snapshot* snapshot : {&latest_, &from}) {
    for (const BlockedEntry& entry : snapshot->blocked) {
      const std::vector<Frame> frames = symbolize(entry.pid, stack(latest_, entry.stack));
      const std::string site = site_of(frames);
      AccountRow& row = builder.row(entry.pid, process_,
                                    site.empty() && frames.empty() ? ""
                                    : site.empty()                 ? kMainFiber
                                                                   : site);
      add_parked(row, entry.reason, entry.parked_ns, snapshot == &latest_ ? 1 : -1);
    }
  }
  if (census_) {
    add_open(census_, 1);
    add_open(&from == &first_ ? first_census_ : previous_census_, -1);
  }
  for (const auto& [key, ns] : parked)
    if (ns > 0) key.first->parked_ns[key.second] += static_cast<uint64_t>(ns);

  std::map<std::pair<uint32_t, uint64_t>, uint64_t> queued_before;
  for (const QueuedEntry& entry : from.queued) queued_before[{entry.pid, entry.fiber_entry}] = entry.total_ns;
  for (const QueuedEntry& entry : latest_.queued)
    spawned(entry.pid, entry.fiber_entry).queued_ns +=
        since(entry.total_ns, queued_before[{entry.pid, entry.fiber_entry}]);

  const auto add_off_cpu = [&](const Snapshot& snapshot, bool add) {
    for (const OffCpuEntry& entry : snapshot.off_cpu) {
      if (!entry.on_fiber) continue;
      AccountRow& row = spawned(entry.pid, entry.fiber_entry);
      uint64_t& part = entry.cause == OffCpuCause::preempted ? row.preempted_ns : row.kernel_ns[off_cpu_name(entry)];
      part = add ? part + entry.total_ns : since(part, entry.total_ns);
    }
  };
  add_off_cpu(latest_, true);
  add_off_cpu(from, false);

  uint64_t lived_us = 0;
  for (const auto& [pid, counters] : latest_.counters) {
    const auto before = from.counters.find(pid);
    lived_us += since(counters.fiber_us, before == from.counters.end() ? 0 : before->second.fiber_us);
  }
  model.account = builder.take(lived_us * 1000);

  DelayHistogram delays{};
  for (const auto& [pid, histogram] : latest_.delays) {
    const auto before = from.delays.find(pid);
    const DelayHistogram more = before == from.delays.end() ? histogram : difference(histogram, before->second);
    for (size_t i = 0; i < delays.size(); ++i) delays[i] += more[i];
  }
  model.delays = percentiles(delays);
}

}  // namespace fiberprof
