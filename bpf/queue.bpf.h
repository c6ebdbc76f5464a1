/* SPDX-License-Identifier: BSD-2-Clause */
/* Queue depth per processor from the monitor's ticks, how long fibers are queued, and probes that are only counted. */
#ifndef FIBERPROF_BPF_QUEUE_H
#define FIBERPROF_BPF_QUEUE_H

#include <fiberprof/probes.h>

#include "maps.bpf.h"

static __always_inline struct fp_queue_value* queue_entry(const struct fp_queue_key* key) {
  struct fp_queue_value* value = bpf_map_lookup_elem(&queues, key);
  if (value) return value;
  if (queues_full) return 0;
  struct fp_queue_value none = {};
  if (insert(&queues, key, &none) == -E2BIG) queues_full = 1;
  return bpf_map_lookup_elem(&queues, key);
}

SEC("uprobe")
int on_proc_sample(struct pt_regs* ctx) {
  STAY_ON_THE_TASKS_STACK(ctx);
  struct fp_queue_key key = {.tgid = watched_process(), .processor = ARG0(ctx)};
  if (!key.tgid) return 0;
  u64 depth = ARG1(ctx), state = ARG2(ctx);
  struct fp_queue_value* value = queue_entry(&key);
  if (!value) {
    lost(FP_LOST_QUEUES_FULL, 1);
    return 0;
  }
  ADD(value->ticks, 1);
  ADD(value->depth_sum, depth);
  if (depth > value->depth_max) value->depth_max = depth;
  value->last_depth = depth;
  if (state < 3) ADD(value->state_ticks[state], 1);
  u32 bucket = depth ? log2_of(depth) + 1 : 0;
  if (bucket >= FP_DEPTH_BUCKETS) bucket = FP_DEPTH_BUCKETS - 1;
  ADD(value->depth_log2[bucket], 1);
  return 0;
}

static __always_inline struct fp_counters* counters_of(u32 tgid) {
  struct fp_counters* value = bpf_map_lookup_elem(&counters, &tgid);
  if (value || !tgid) return value;
  struct fp_counters none = {};
  insert(&counters, &tgid, &none);
  return bpf_map_lookup_elem(&counters, &tgid);
}

/* One of `depth` fibers that were queued over the last tick: it stands for all of them. */
SEC("uprobe")
int on_queue_sample(struct pt_regs* ctx) {
  STAY_ON_THE_TASKS_STACK(ctx);
  struct fp_queued_key key = {.tgid = watched_process(), .fiber_entry = ARG1(ctx)};
  if (!key.tgid) return 0;
  struct fp_queued_value* value = bpf_map_lookup_elem(&queued, &key);
  if (!value) {
    struct fp_queued_value none = {};
    if (!queued_full && insert(&queued, &key, &none) == -E2BIG) queued_full = 1;
    value = bpf_map_lookup_elem(&queued, &key);
    if (!value) {
      lost(FP_LOST_QUEUED_FULL, 1);
      return 0;
    }
  }
  ADD(value->total_ns, ARG2(ctx) * ARG3(ctx));
  ADD(value->samples, 1);
  return 0;
}

/* The time before the first sample counts, too: the monitor of a program that is asleep may not notice for 100 ms that
 * somebody watches. */
static __always_inline u64 unsampled_ns(u64 interval) {
  const u64 now = bpf_ktime_get_ns(), begun = BPF_CORE_READ((struct task_struct*)bpf_get_current_task(), start_time);
  const u64 watched = now - (begun > attached_ns ? begun : attached_ns);
  return (s64)watched > (s64)interval ? watched - interval : 0;
}

SEC("uprobe")
int on_fibers_sample(struct pt_regs* ctx) {
  STAY_ON_THE_TASKS_STACK(ctx);
  struct fp_counters* value = counters_of(watched_process());
  if (!value) return 0;
  u64 ns = ARG1(ctx);
  if (ns && ns < 1000000000) tick_ns = (7 * tick_ns + ns) / 8;
  if (!value->sampled) ns += unsampled_ns(ns);
  value->sampled = 1;
  value->fibers = ARG0(ctx);
  ADD(value->fiber_us, ARG0(ctx) * ns / 1000);
  return 0;
}

SEC("uprobe")
int on_handoff(struct pt_regs* ctx) {
  STAY_ON_THE_TASKS_STACK(ctx);
  /* An idle processor that goes to whichever worker wakes up is nothing to report. */
  if (ARG3(ctx) != FIBERPROF_HANDOFF_BLOCKING) return 0;
  struct fp_counters* value = counters_of(watched_process());
  if (value) ADD(value->handoffs, 1);
  return 0;
}

SEC("uprobe")
int on_overrun(struct pt_regs* ctx) {
  STAY_ON_THE_TASKS_STACK(ctx);
  (void)ctx;
  struct fp_counters* value = counters_of(watched_process());
  if (value) ADD(value->overruns, 1);
  return 0;
}

/* Fires on the new worker's own thread, hence the current one. */
SEC("uprobe")
int on_worker_start(struct pt_regs* ctx) {
  STAY_ON_THE_TASKS_STACK(ctx);
  u32 tgid = watched_process();
  if (!tgid) return 0;
  struct fp_counters* value = counters_of(tgid);
  if (value) ADD(value->worker_starts, 1);
  u32 tid = visible_id((struct task_struct*)bpf_get_current_task());
  struct fp_worker worker = {.record = ARG2(ctx), .on_ns = bpf_ktime_get_ns(), .seen = 1, .why = {.tgid = tgid}};
  int error = workers_full ? -E2BIG : (int)bpf_map_update_elem(&workers, &tid, &worker, BPF_ANY);
  if (error) {
    if (error == -E2BIG) workers_full = 1;
    lost(FP_LOST_WORKERS_FULL, 1);
  }
  return 0;
}

#endif
