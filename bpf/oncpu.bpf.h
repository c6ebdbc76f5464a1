/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What workers run: a sample of the CPU clock that finds one takes the fiber on it and its stacks. How long they ran
 * in all is known exactly (worker_times); samples only divide it up.
 *
 * Every sample may have an address of its own, so what may be stored for them is bounded apart: one entry, hence at
 * most two stacks, for each entry of `oncpu`. When that is full, stacks that are known still count.
 */
#ifndef FIBERPROF_BPF_ONCPU_H
#define FIBERPROF_BPF_ONCPU_H

#include "filter.bpf.h"
#include "worker.bpf.h"

/* How many inner ends of stacks may be kept for samples; the rest is for stacks of threads that sleep. */
const volatile __u32 max_oncpu_leaves = 0;

static __always_inline u64 sampled_kernel_stack(void* ctx) {
  /* the context begins with the registers at the moment of the sample */
  return IN_KERNEL((const struct pt_regs*)ctx) ? kernel_stack(ctx, oncpu_full) : 0;
}

SEC("perf_event")
int on_cpu_clock(void* ctx) {
  struct task_struct* task = (struct task_struct*)bpf_get_current_task();
  struct fp_worker* worker = worker_by_id(pid_level ? visible_id(task) : (u32)bpf_get_current_pid_tgid());
  if (!worker) return 0;
  worker->seen = 1;
  struct fp_oncpu_key key = {.tgid = worker->why.tgid};
  key.on_fiber = fiber_on(worker, &key.fiber_entry) != 0;
  struct fp_worker_time* time = time_of(key.tgid);
  if (time) {
    ADD(time->samples, 1);
    if (key.on_fiber) ADD(time->fiber_samples, 1);
  }
  if ((filter_sites || filter_names) && !has_wanted_fiber(worker)) return 0;
  struct pt_regs regs;
  if (user_registers(current_task(), &regs))
    lost(FP_LOST_USER_MEMORY, 1);
  else
    key.user_stack = worker_stack(key.tgid, &regs, oncpu_full, max_oncpu_leaves);
  key.kernel_stack = sampled_kernel_stack(ctx);

  u64* count = bpf_map_lookup_elem(&oncpu, &key);
  if (!count) {
    const u64 none = 0;
    if (!oncpu_full && insert(&oncpu, &key, &none) == -E2BIG) oncpu_full = 1;
    count = bpf_map_lookup_elem(&oncpu, &key);
  }
  if (count)
    ADD(*count, 1);
  else
    lost(FP_LOST_ONCPU_FULL, 1);
  return 0;
}

#endif
