// SPDX-License-Identifier: BSD-2-Clause
#include "session/reader.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <tuple>
#include <unordered_map>

#include "session/map_reader.h"
#include "session/on_cpu_reader.h"
#include "session/skeleton.h"
#include "session/stopwatch.h"
#include "session/waker_reader.h"

namespace fiberprof {

static_assert(offsetof(fp_stack, frames) == offsetof(fp_short_stack, frames) &&
              offsetof(fp_stack, kernel) == offsetof(fp_short_stack, kernel));
static_assert(FP_PREEMPTED == static_cast<int>(OffCpuCause::preempted) &&
              FP_FUTEX == static_cast<int>(OffCpuCause::futex) && FP_POLL == static_cast<int>(OffCpuCause::poll) &&
              FP_SYSCALL == static_cast<int>(OffCpuCause::syscall) &&
              FP_FAULT == static_cast<int>(OffCpuCause::fault) && FP_DISK == static_cast<int>(OffCpuCause::disk) &&
              FP_STOPPED == static_cast<int>(OffCpuCause::stopped) && FP_STOPPED + 1 == kOffCpuCauses);
static_assert(FP_DELAY_BUCKETS == std::tuple_size_v<DelayHistogram>);
static_assert(FP_DEPTH_BUCKETS == std::tuple_size_v<decltype(QueueEntry::depth_log2)>);

namespace {

OffCpuEntry entry_of(const fp_offcpu_key& key) {
  OffCpuEntry entry;
  entry.pid = key.tgid;
  entry.cause = static_cast<OffCpuCause>(key.cause);
  entry.on_fiber = key.on_fiber != 0;
  entry.syscall = key.syscall;
  entry.futex_op = key.futex_op;
  entry.fiber_entry = key.fiber_entry;
  entry.user_stack = key.user_stack;
  entry.kernel_stack = key.kernel_stack;
  return entry;
}

// A key has no holes.
struct SameKey {
  bool operator()(const fp_offcpu_key& a, const fp_offcpu_key& b) const { return std::memcmp(&a, &b, sizeof a) == 0; }
};
struct HashKey {
  size_t operator()(const fp_offcpu_key& key) const {
    return std::hash<std::string_view>()({reinterpret_cast<const char*>(&key), sizeof key});
  }
};

}  // namespace

Result<Snapshot> SnapshotReader::read() {
  Snapshot snapshot;
  snapshot.time_ns = monotonic_ns();
  snapshot.attached_ns = skeleton_.bss->attached_ns;
  if (auto done = blocked_.read(snapshot); !done) return tl::unexpected(done.error());
  for (const auto part : {&SnapshotReader::read_off_cpu, &SnapshotReader::read_queues, &SnapshotReader::read_queued,
                          &SnapshotReader::read_losses})
    if (auto done = (this->*part)(snapshot); !done) return tl::unexpected(done.error());
  if (auto done = read_on_cpu(skeleton_, snapshot); !done) return tl::unexpected(done.error());
  if (auto done = read_chains(skeleton_, snapshot); !done) return tl::unexpected(done.error());
  read_stacks(snapshot);
  return snapshot;
}

Result<void> SnapshotReader::read_off_cpu(Snapshot& snapshot) {
  std::vector<fp_offcpu_key> keys;
  keys.reserve(off_cpu_ + off_cpu_ / 8);
  snapshot.off_cpu.reserve(off_cpu_ + off_cpu_ / 8);
  auto done = read_map<fp_offcpu_key, fp_offcpu_value>(
      skeleton_.maps.offcpu, cpus_, [&](const fp_offcpu_key& key, const fp_offcpu_value* values) {
        OffCpuEntry entry = entry_of(key);
        Histogram duration{};
        for (int cpu = 0; cpu < cpus_; ++cpu) {
          const fp_offcpu_value& value = values[cpu];
          entry.total_ns += value.total_ns;
          entry.runnable_ns += value.runnable_ns;
          entry.max_ns = std::max<uint64_t>(entry.max_ns, value.max_ns);
          for (size_t i = 0; i < duration.size(); ++i) duration[i] += value.histogram[i];
        }
        entry.duration = duration;
        entry.count = entry.duration.sum();
        if (entry.count == 0) return;
        keys.push_back(key);
        snapshot.off_cpu.push_back(std::move(entry));
      });
  if (!done) return done;
  // Those still off their CPU, up to now: a worker stuck for good shall not be invisible.
  std::unordered_map<fp_offcpu_key, OffCpuEntry, HashKey, SameKey> going_on;
  done = read_map<uint32_t, fp_worker>(skeleton_.maps.workers, 1, [&](const uint32_t&, const fp_worker* worker) {
    if (!worker->start_ns || worker->unwanted || worker->start_ns >= snapshot.time_ns) return;
    OffCpuEntry& entry = going_on.try_emplace(worker->why, entry_of(worker->why)).first->second;
    const uint64_t ns = snapshot.time_ns - worker->start_ns;
    entry.count += 1;
    entry.total_ns += ns;
    if (worker->woken_ns && worker->woken_ns < snapshot.time_ns)
      entry.runnable_ns += snapshot.time_ns - worker->woken_ns;
    entry.max_ns = std::max(entry.max_ns, ns);
  });
  for (size_t i = 0; i < keys.size() && !going_on.empty(); ++i) {
    const auto more = going_on.find(keys[i]);
    if (more == going_on.end()) continue;
    OffCpuEntry& entry = snapshot.off_cpu[i];
    entry.count += more->second.count;
    entry.total_ns += more->second.total_ns;
    entry.runnable_ns += more->second.runnable_ns;
    entry.max_ns = std::max(entry.max_ns, more->second.max_ns);
    going_on.erase(more);
  }
  for (const auto& [key, entry] : going_on) snapshot.off_cpu.push_back(entry);
  off_cpu_ = snapshot.off_cpu.size();
  return done;
}

Result<void> SnapshotReader::read_queues(Snapshot& snapshot) {
  auto done = read_map<fp_queue_key, fp_queue_value>(
      skeleton_.maps.queues, 1, [&](const fp_queue_key& key, const fp_queue_value* value) {
        QueueEntry entry;
        entry.pid = key.tgid;
        entry.processor = key.processor;
        entry.ticks = value->ticks;
        entry.depth_sum = value->depth_sum;
        entry.depth_max = value->depth_max;
        entry.last_depth = value->last_depth;
        std::copy(std::begin(value->state_ticks), std::end(value->state_ticks), entry.state_ticks.begin());
        std::copy(std::begin(value->depth_log2), std::end(value->depth_log2), entry.depth_log2.begin());
        snapshot.queues.push_back(entry);
      });
  if (!done) return done;
  std::sort(snapshot.queues.begin(), snapshot.queues.end(), [](const QueueEntry& a, const QueueEntry& b) {
    return std::tie(a.pid, a.processor) < std::tie(b.pid, b.processor);
  });
  return read_map<uint32_t,
                  fp_counters>(skeleton_.maps.counters, 1, [&](const uint32_t& tgid, const fp_counters* value) {
    snapshot.counters[tgid] = {value->handoffs, value->worker_starts, value->overruns, value->fibers, value->fiber_us};
  });
}

Result<void> SnapshotReader::read_queued(Snapshot& snapshot) {
  auto done = read_map<fp_queued_key, fp_queued_value>(
      skeleton_.maps.queued, 1, [&](const fp_queued_key& key, const fp_queued_value* value) {
        snapshot.queued.push_back({key.tgid, key.fiber_entry, value->total_ns, value->samples});
      });
  if (!done) return done;
  return read_map<uint32_t, fp_delay_value>(
      skeleton_.maps.delays, 1, [&](const uint32_t& tgid, const fp_delay_value* value) {
        std::copy(std::begin(value->count), std::end(value->count), snapshot.delays[tgid].begin());
      });
}

Result<void> SnapshotReader::read_losses(Snapshot& snapshot) {
  std::vector<fp_losses> values(static_cast<size_t>(cpus_));
  const uint32_t zero = 0;
  const int error = bpf_map_lookup_elem(bpf_map__fd(skeleton_.maps.losses), &zero, values.data());
  if (error) return fail("cannot read the loss counters", std::strerror(-error));
  uint64_t total[FP_LOSS_COUNT] = {};
  for (const fp_losses& value : values)
    for (int i = 0; i < FP_LOSS_COUNT; ++i) total[i] += value.count[i];
  Losses& losses = snapshot.losses;
  losses.blocked_map_full = total[FP_LOST_BLOCKED_FULL];
  losses.offcpu_map_full = total[FP_LOST_OFFCPU_FULL];
  losses.stack_map_full = total[FP_LOST_STACKS_FULL];
  losses.worker_stack_map_full = total[FP_LOST_WORKER_STACKS_FULL];
  losses.worker_map_full = total[FP_LOST_WORKERS_FULL] + workers_not_added_;
  losses.queue_map_full = total[FP_LOST_QUEUES_FULL];
  losses.queued_map_full = total[FP_LOST_QUEUED_FULL];
  losses.oncpu_map_full = total[FP_LOST_ONCPU_FULL];
  losses.process_map_full = total[FP_LOST_PROCESS_FULL];
  losses.stack_walk_failed = total[FP_LOST_STACK_WALK];
  losses.stack_truncated = total[FP_LOST_STACK_TRUNCATED];
  losses.stack_hash_collision = total[FP_LOST_STACK_COLLISION];
  losses.scratch_preempted = total[FP_LOST_SCRATCH];
  losses.user_memory_fault = total[FP_LOST_USER_MEMORY];
  losses.map_busy = total[FP_LOST_MAP_BUSY];
  losses.fiber_not_known = total[FP_LOST_FILTER];
  losses.chain_map_full = total[FP_LOST_CHAINS_FULL];
  losses.waker_forgotten = total[FP_LOST_WAKER];
  losses.leaf_missing = total[FP_LOST_LEAF];
  losses.unseen = total[FP_UNSEEN];
  losses.clipped = total[FP_CLIPPED];
  losses.filtered = total[FP_FILTERED];
  return {};
}

void SnapshotReader::read_stacks(Snapshot& snapshot) {
  snapshot.stacks = stacks_;
  stacks_at_.resize(snapshot.blocked.size());
  for (size_t place = 0; place < snapshot.blocked.size(); ++place)
    if (const StackId stack = snapshot.blocked[place].stack; stacks_at_[place] != stack && read_stack(stack))
      stacks_at_[place] = stack;
  for (const OffCpuEntry& entry : snapshot.off_cpu) {
    read_stack(entry.user_stack);
    read_stack(entry.kernel_stack);
  }
  for (const OnCpuEntry& entry : snapshot.on_cpu) {
    read_stack(entry.user_stack);
    read_stack(entry.kernel_stack);
  }
  for (const auto& [id, chain] : snapshot.chains)
    for (const WakerLink& link : chain.links)
      for (const StackId stack : {link.waker_stack, link.user_stack, link.kernel_stack}) read_stack(stack);
}

bool SnapshotReader::read_stack(StackId id) {
  if (!id || stacks_.find(id)) return true;
  fp_stack raw{};  // or what a short one has of it
  if (bpf_map_lookup_elem(bpf_map__fd(stacks_with(id)), &id, &raw) != 0) return false;
  std::unique_ptr<LeafSnapshot> leaf;
  if (id & FP_KEY_WORKER && !raw.kernel) leaf = read_leaf(id);
  stacks_.add(id, {raw.frames, raw.frames + std::min<uint32_t>(raw.n, FP_MAX_FRAMES)}, std::move(leaf));
  return true;
}

const bpf_map* SnapshotReader::stacks_with(StackId id) const {
  const auto& maps = skeleton_.maps;
  return id & FP_KEY_WORKER ? maps.worker_stacks : id & FP_KEY_DEEP ? maps.deep_stacks : maps.stacks;
}

std::unique_ptr<LeafSnapshot> SnapshotReader::read_leaf(StackId id) const {
  auto raw = std::make_unique<fp_leaf>();
  if (bpf_map_lookup_elem(bpf_map__fd(skeleton_.maps.leaves), &id, raw.get()) != 0) return nullptr;
  auto leaf = std::make_unique<LeafSnapshot>();
  leaf->ip = raw->ip;
  leaf->sp = raw->sp;
  leaf->fp = raw->fp;
  leaf->lr = raw->lr;
  leaf->from = raw->from;
  leaf->guessed = raw->guessed;
  leaf->stack.assign(raw->bytes, raw->bytes + std::min<uint64_t>(raw->length, FP_LEAF_BYTES));
  return leaf;
}

}  // namespace fiberprof
