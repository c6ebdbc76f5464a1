// SPDX-License-Identifier: BSD-2-Clause
#include "session/profile_builder.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <cstdio>
#include <span>

#include "session/delays.h"
#include "session/names.h"

namespace fiberprof {
namespace {

std::vector<uint64_t> up_to_last(const uint64_t* begin, const uint64_t* end) {
  while (end != begin && end[-1] == 0) --end;
  return {begin, end};
}

std::vector<uint64_t> buckets_of(const DurationHistogram& histogram) {
  std::vector<uint64_t> buckets(histogram.end());
  for (size_t i = 0; i < buckets.size(); ++i) buckets[i] = histogram[i];
  return buckets;
}

// A kernel stack without its innermost frames up to schedule(): they are the tracepoint's own, the same in each.
std::span<const uint64_t> without_tracing(std::span<const uint64_t> stack) {
  for (size_t i = std::min<size_t>(stack.size(), 10); i-- > 0;)
    if (const auto& name = kernel_frame(stack[i]).function; name == "schedule" || name == "__schedule")
      return stack.subspan(i);
  return stack;
}

}  // namespace

const std::vector<uint32_t>& ProfileBuilder::frames_of(uint32_t pid, uint64_t address, Kind kind) {
  const auto [at, added] = known_.try_emplace({kind == Kind::kernel ? 0 : pid, address, kind});
  if (!added) return at->second;
  const auto add = [&](const Frame& frame) {
    // In a file, where in the file; else its address is all there is to tell it by.
    const uint64_t place = frame.address - frame.mapping_start + frame.mapping_offset;
    const auto [index, fresh] = interned_.try_emplace(
        {frame.binary + '\0' + frame.build_id, frame.function, frame.file, frame.line, place, frame.inlined},
        static_cast<uint32_t>(profile_.frames.size()));
    at->second.push_back(index->second);
    if (!fresh) return;
    ProfileFrame out;
    out.function = frame.function;
    out.file = frame.file;
    out.line = frame.line;
    out.binary = frame.binary;
    out.build_id = frame.build_id;
    out.address = frame.address;
    out.mapping_start = frame.mapping_start;
    out.mapping_end = frame.mapping_end;
    out.mapping_offset = frame.mapping_offset;
    out.inlined = frame.inlined;
    out.runtime = frame.runtime;
    profile_.frames.push_back(std::move(out));
  };
  const auto symbols = symbols_.find(pid);
  if (kind == Kind::kernel) {
    add(kernel_frame(address));
  } else if (symbols != symbols_.end()) {
    for (const Frame& frame : symbols->second->resolve(address, kind == Kind::return_address)) add(frame);
  } else {
    char text[32];
    std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
    Frame frame;
    frame.function = text;
    frame.address = address;
    add(frame);
  }
  return at->second;
}

void ProfileBuilder::forget_addresses(uint32_t pid) {
  std::erase_if(known_, [&](const auto& entry) { return std::get<0>(entry.first) == pid; });
}

void ProfileBuilder::append_stack(std::vector<uint32_t>& frames, uint32_t pid, const std::vector<uint64_t>& stack,
                                  bool first_is_return) {
  for (size_t i = 0; i < stack.size(); ++i) {
    const auto& more = frames_of(pid, stack[i], i || first_is_return ? Kind::return_address : Kind::instruction);
    frames.insert(frames.end(), more.begin(), more.end());
  }
}

std::string ProfileBuilder::function_name(uint32_t pid, uint64_t address) {
  if (!address) return {};
  const auto symbols = symbols_.find(pid);
  return symbols == symbols_.end() ? std::string() : symbols->second->resolve(address, false).back().function;
}

void ProfileBuilder::add(const Snapshot& snapshot) {
  add_blocked(snapshot);
  add_off_cpu(snapshot);
  add_on_cpu(snapshot);
  add_queues(snapshot);
  add_queued(snapshot);
  for (const auto& [pid, counters] : snapshot.counters) {
    profile_.counters["handoffs"] += counters.handoffs;
    profile_.counters["worker_starts"] += counters.worker_starts;
    profile_.counters["overruns"] += counters.overruns;
    profile_.counters["fiber_us"] += counters.fiber_us;
  }
  for (const auto& [cause, events] : named_losses(snapshot.losses)) profile_.losses[cause] += events;
}

void ProfileBuilder::add_blocked(const Snapshot& snapshot) {
  for (const BlockedEntry& entry : snapshot.blocked) {
    Sample sample;
    sample.kind = SampleKind::blocked;
    sample.reason = reason_name(entry.reason);
    sample.pid = entry.pid;
    sample.process = names_[entry.pid];
    if (const auto* stack = snapshot.stacks.find(entry.stack)) append_stack(sample.frames, entry.pid, *stack, false);
    sample.chain = chain_of(snapshot, entry.pid, entry.chain);
    sample.count = entry.count;
    sample.total_ns = entry.parked_ns + entry.queued_ns;
    sample.queued_ns = entry.queued_ns;
    sample.max_ns = entry.max_ns;
    sample.variance_ns2 = entry.variance_ns2;
    sample.count_variance = entry.count_variance;
    sample.histogram = buckets_of(entry.parked);
    profile_.samples.push_back(std::move(sample));
  }
}

std::vector<uint32_t> ProfileBuilder::off_cpu_frames(const Snapshot& snapshot, uint32_t pid, StackId kernel_stack,
                                                     StackId user_stack) {
  std::vector<uint32_t> frames;
  if (const auto* stack = snapshot.stacks.find(kernel_stack))
    for (const uint64_t address : without_tracing(*stack)) {
      const auto& more = frames_of(pid, address, Kind::kernel);
      frames.insert(frames.end(), more.begin(), more.end());
    }
  if (const auto* stack = snapshot.stacks.find(user_stack)) append_stack(frames, pid, *stack, false);
  return frames;
}

void ProfileBuilder::add_off_cpu(const Snapshot& snapshot) {
  for (const OffCpuEntry& entry : snapshot.off_cpu) {
    Sample sample;
    sample.kind = entry.on_fiber ? SampleKind::off_cpu : SampleKind::idle;
    sample.reason = off_cpu_name(entry);
    sample.pid = entry.pid;
    sample.process = names_[entry.pid];
    sample.name = function_name(entry.pid, entry.fiber_entry);
    sample.frames = off_cpu_frames(snapshot, entry.pid, entry.kernel_stack, entry.user_stack);
    sample.count = entry.count;
    sample.total_ns = entry.total_ns;
    sample.queued_ns = entry.runnable_ns;
    sample.max_ns = entry.max_ns;
    sample.histogram = buckets_of(entry.duration);
    profile_.samples.push_back(std::move(sample));
  }
}

void ProfileBuilder::add_on_cpu(const Snapshot& snapshot) {
  for (const OnCpuEntry& entry : snapshot.on_cpu) {
    Sample sample;
    sample.kind = SampleKind::on_cpu;
    sample.reason = entry.on_fiber ? "running" : kScheduler;
    sample.pid = entry.pid;
    sample.process = names_[entry.pid];
    sample.name = function_name(entry.pid, entry.fiber_entry);
    if (const auto* stack = snapshot.stacks.find(entry.kernel_stack))
      for (const uint64_t address : *stack) {
        const auto& frames = frames_of(entry.pid, address, Kind::kernel);
        sample.frames.insert(sample.frames.end(), frames.begin(), frames.end());
      }
    if (const auto* stack = snapshot.stacks.find(entry.user_stack))
      append_stack(sample.frames, entry.pid, *stack, false);
    sample.count = entry.samples;
    sample.total_ns = entry.ns;
    profile_.samples.push_back(std::move(sample));
  }
  for (const auto& [pid, time] : snapshot.worker_times) {
    WorkerStats stats;
    stats.pid = pid;
    stats.on_cpu_ns = time.on_cpu_ns;
    stats.off_cpu_ns = time.off_cpu_ns;
    stats.runnable_ns = time.runnable_ns;
    stats.max_runnable_ns = time.max_runnable_ns;
    stats.samples = time.samples;
    stats.fiber_samples = time.fiber_samples;
    stats.runnable = up_to_last(time.runnable.data(), time.runnable.data() + time.runnable.size());
    profile_.workers.push_back(std::move(stats));
  }
}

void ProfileBuilder::add_queues(const Snapshot& snapshot) {
  for (const QueueEntry& entry : snapshot.queues) {
    QueueStats stats;
    stats.pid = entry.pid;
    stats.processor = entry.processor;
    stats.ticks = entry.ticks;
    if (entry.ticks) {
      const auto ticks = static_cast<double>(entry.ticks);
      stats.mean_depth = static_cast<double>(entry.depth_sum) / ticks;
      stats.idle_fraction = static_cast<double>(entry.state_ticks[FIBERPROF_PROCESSOR_IDLE]) / ticks;
    }
    stats.max_depth = entry.depth_max;
    stats.histogram = up_to_last(entry.depth_log2.data(), entry.depth_log2.data() + entry.depth_log2.size());
    profile_.queues.push_back(std::move(stats));
  }
}

void ProfileBuilder::add_queued(const Snapshot& snapshot) {
  for (const QueuedEntry& entry : snapshot.queued) {
    const std::string site = entry.fiber_entry ? function_name(entry.pid, entry.fiber_entry) : kMainFiber;
    profile_.queued.push_back({entry.pid, names_[entry.pid], site, entry.total_ns});
  }
  for (const auto& [pid, histogram] : snapshot.delays) {
    const DelayPercentiles at = percentiles(histogram);
    profile_.delays.push_back({pid, at.count, at.p50_ns, at.p99_ns, at.p999_ns});
  }
}

void ProfileBuilder::add_open(uint32_t pid, uint8_t reason, const std::string& name, uint64_t entry,
                              const std::vector<uint64_t>& stack, const OpenWaits& waits) {
  Sample sample;
  sample.kind = SampleKind::open;
  sample.reason = reason_name(reason);
  sample.pid = pid;
  sample.process = names_[pid];
  sample.name = name.empty() ? function_name(pid, entry) : name;
  append_stack(sample.frames, pid, stack, true);
  sample.count = waits.count;
  sample.total_ns = waits.total_ns;
  sample.max_ns = waits.max_ns;
  profile_.samples.push_back(std::move(sample));
}

std::map<std::string, uint64_t> named_losses(const Losses& losses) {
  const std::pair<const char*, uint64_t> all[] = {
      {"blocked map full", losses.blocked_map_full},
      {"off-CPU map full", losses.offcpu_map_full},
      {"stack map full", losses.stack_map_full},
      {"worker stack map full", losses.worker_stack_map_full},
      {"worker map full", losses.worker_map_full},
      {"queue map full", losses.queue_map_full},
      {"queued map full", losses.queued_map_full},
      {"on-CPU map full", losses.oncpu_map_full},
      {"process map full", losses.process_map_full},
      {"stack not readable", losses.stack_walk_failed},
      {"stack truncated", losses.stack_truncated},
      {"stack hash collision", losses.stack_hash_collision},
      {"preempted while taking a stack", losses.scratch_preempted},
      {"worker memory not readable", losses.user_memory_fault},
      {"map busy", losses.map_busy},
      {"fiber not known to the filter", losses.fiber_not_known},
      {"chain map full", losses.chain_map_full},
      {"waker forgotten", losses.waker_forgotten},
      {"inner end of a stack not kept", losses.leaf_missing},
      {"switch or wake-up of a worker not seen", losses.unseen},
      {"began before the recording", losses.clipped},
  };
  std::map<std::string, uint64_t> named;
  for (const auto& [cause, events] : all)
    if (events) named.emplace(cause, events);
  return named;
}

}  // namespace fiberprof
