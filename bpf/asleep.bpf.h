/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Workers as they are when they begin to be watched: those off their CPU, what they are in, and since now.
 *
 * Nobody attaches to a healthy program as often as to one that hangs, and a worker that hangs in the kernel is not
 * switched out again: sched_switch would never tell. So all threads are visited once, when everything else is in place.
 * Their user memory cannot be read from here; userspace does that, and the visit is repeated until what userspace has
 * found out is about the same sleep.
 */
#ifndef FIBERPROF_BPF_ASLEEP_H
#define FIBERPROF_BPF_ASLEEP_H

#include "offcpu.bpf.h"

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __uint(max_entries, 16384);
  __type(key, __u32); /* thread id */
  __type(value, struct fp_asleep_on);
} asleep SEC(".maps");

/* Key of the kernel stack of a thread that is off its CPU; 0: not stored. */
static __always_inline u64 sleeping_kernel_stack(struct task_struct* task) {
  const u32 slot = SCRATCH_TASK;
  struct fp_scratch* s = bpf_map_lookup_elem(&scratch, &slot);
  if (!s) return 0;
  return kernel_stack_in(slot, s, bpf_get_task_stack(task, s->stack.frames, sizeof(s->stack.frames), 0), 0);
}

static __always_inline void is_asleep(struct fp_worker* worker, struct task_struct* task, const struct pt_regs* regs,
                                      u64 state, const struct fp_asleep_on* on) {
  const u64 now = bpf_ktime_get_ns();
  struct fp_offcpu_key* why = &worker->why;
  why->cause = FP_PREEMPTED;
  why->syscall = -1;
  why->on_fiber = on->fiber != 0;
  why->fiber_entry = on->fiber_entry;
  why->user_stack = on->user_stack;
  worker->fiber = on->fiber;
  worker->unwanted = on->unwanted;
  if (state) find_cause(worker, regs, state);
  if (state && (on->fiber || (why->cause != FP_FUTEX && why->cause != FP_POLL)))
    why->kernel_stack = sleeping_kernel_stack(task);
  note_counts(worker, task);
  worker->on_ns = now;
  worker->woken_ns = state ? 0 : now;
  worker->start_ns = now;
  worker->seen = 1; /* should it get its CPU just now, its next switch finds that out: came_back_unseen() */
}

SEC("iter/task")
int on_task(struct bpf_iter__task* ctx) {
  struct task_struct* task = ctx->task;
  if (!task) return 0;
  struct fp_worker* worker = worker_of(task);
  if (!worker || worker->seen) return 0;
  if (bpf_core_field_exists(task->on_cpu) && task->on_cpu) {
    /* on a CPU of its own it may stay there for ever */
    worker->on_ns = bpf_ktime_get_ns();
    worker->seen = 1;
    return 0;
  }
  const u64 state = state_of(task);
  struct pt_regs regs;
  if (state & TASK_DEAD || user_registers(task, &regs)) return 0;
  u32 tid = visible_id(task);
  const u64 switches = task->nvcsw + task->nivcsw;
  const struct fp_asleep_on* on = bpf_map_lookup_elem(&asleep, &tid);
  if (on && on->switches == switches) {
    is_asleep(worker, task, &regs, state, on);
    return 0;
  }
  struct fp_asleep one = {
      .tid = tid,
      .tgid = worker->why.tgid,
      .record = worker->record,
      .switches = switches,
      .ip = REG_IP(&regs),
      .sp = REG_SP(&regs),
      .fp = REG_FP(&regs),
      .lr = REG_LR(&regs),
  };
  bpf_seq_write(ctx->meta->seq, &one, sizeof(one));
  return 0;
}

#endif
