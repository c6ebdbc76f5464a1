/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why a worker thread was off its CPU, and which fiber it held meanwhile.
 *
 * Everything is learnt at the moment the thread is switched out, when it is still the current task: the fiber on it
 * from the worker's own record in its memory, the reason from the registers it entered the kernel with. Nothing is
 * attached to system calls, so those that do not sleep cost nothing.
 */
#ifndef FIBERPROF_BPF_OFFCPU_H
#define FIBERPROF_BPF_OFFCPU_H

#include "leaf.bpf.h"

static __always_inline u64 state_of(struct task_struct* task) {
  if (bpf_core_field_exists(task->__state)) return BPF_CORE_READ(task, __state);
  return BPF_CORE_READ((struct task_struct___before_5_14*)task, state);
}

/* Registers with which the current task entered the kernel. */
static __always_inline long user_registers(struct task_struct* task, struct pt_regs* regs) {
  const void* from;
  if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
    from = (const void*)bpf_task_pt_regs(task);
  else /* before 5.15 nothing lies between them and the end of the stack */
    from = (const char*)BPF_CORE_READ(task, stack) + KERNEL_STACK_SIZE - sizeof(struct pt_regs);
  return bpf_probe_read_kernel(regs, sizeof(*regs), from);
}

static __always_inline u64 kernel_stack(void* ctx) {
  u32 slot = SCRATCH_SWITCH;
  struct fp_scratch* s = bpf_map_lookup_elem(&scratch, &slot);
  if (!s) return 0;
  long size = bpf_get_stack(ctx, s->stack.frames, sizeof(s->stack.frames), 0);
  if (size <= 0) {
    lost(FP_LOST_STACK_WALK, 1);
    return 0;
  }
  s->stack.n = size / 8;
  s->stack.kernel = 1;
  hash_frames(slot);
  return store_stack(slot, s);
}

/* Id of the fiber on the current worker, 0: none, and its spawned function. */
static __always_inline u64 fiber_on(const struct fp_worker* worker, u64* entry) {
  struct {
    u64 current_fiber, fiber_entry, fiber;
  } record;
  if (bpf_probe_read_user(&record, sizeof(record), (void*)(worker->record + worker_current_at))) {
    lost(FP_LOST_USER_MEMORY, 1);
    return 0;
  }
  if (!record.current_fiber) return 0;
  *entry = record.fiber_entry;
  /* a runtime that says where the fiber's record is need not repeat what is in it */
  if (record.fiber && bpf_probe_read_user(entry, sizeof(*entry), (void*)(record.fiber + fiber_entry_at))) {
    *entry = 0;
    lost(FP_LOST_USER_MEMORY, 1);
  }
  return record.current_fiber;
}

static __always_inline void switched_out(void* ctx, int preempted, struct task_struct* task, u64 state,
                                         struct fp_worker* worker) {
  struct fp_offcpu_key* why = &worker->why;
  if (state & TASK_DEAD) return;
  why->syscall = -1;
  why->futex_op = 0;
  why->fiber_entry = 0;
  why->on_fiber = 0;
  why->user_stack = 0;
  why->kernel_stack = 0;

  const u64 fiber = fiber_on(worker, &why->fiber_entry);
  why->on_fiber = fiber != 0;

  struct pt_regs regs;
  if (user_registers(task, &regs)) {
    lost(FP_LOST_USER_MEMORY, 1);
    return;
  }
  if (preempted || !state) {
    why->cause = FP_PREEMPTED;
  } else {
    s64 nr = SYSCALL_NR(&regs);
    if (nr < 0) {
      why->cause = FP_FAULT;
    } else {
      why->syscall = nr;
      if (nr == NR_futex || nr == NR_futex_waitv || nr == NR_futex_wait) {
        why->cause = FP_FUTEX;
        if (nr == NR_futex) why->futex_op = SYSCALL_ARG1(&regs) & 0x7f;
      } else if (IS_POLL(nr)) {
        why->cause = FP_POLL;
      } else if ((state & TASK_STATE_MASK) == TASK_UNINTERRUPTIBLE) {
        why->cause = FP_DISK;
      } else {
        why->cause = FP_SYSCALL;
      }
    }
  }
  if (fiber) why->user_stack = worker_stack(why->tgid, &regs);
  /* an idle worker sleeps thousands of times a second, always at the same place in the kernel: 1 us each saved */
  if (why->cause != FP_PREEMPTED && (fiber || (why->cause != FP_FUTEX && why->cause != FP_POLL)))
    why->kernel_stack = kernel_stack(ctx);
  worker->start_ns = bpf_ktime_get_ns();
}

static __always_inline void switched_in(struct fp_worker* worker) {
  u64 start = worker->start_ns;
  if (!start) return;
  worker->start_ns = 0;
  u64 ns = bpf_ktime_get_ns() - start;
  if (ns < min_wait_ns) return;
  struct fp_offcpu_value* value = bpf_map_lookup_elem(&offcpu, &worker->why);
  if (!value) {
    if (!offcpu_full && insert(&offcpu, &worker->why, &no_offcpu) == -E2BIG)
      offcpu_full = 1;
    value = bpf_map_lookup_elem(&offcpu, &worker->why);
    if (!value) {
      lost(FP_LOST_OFFCPU_FULL, 1);
      return;
    }
  }
  u32 bucket = log2_of(ns);
  if (bucket >= FP_BUCKETS) bucket = FP_BUCKETS - 1;
  /* interrupts are off here: nobody else touches this CPU's entry */
  value->total_ns += ns;
  if (ns > value->max_ns) value->max_ns = ns;
  value->histogram[bucket]++;
}

SEC("tp_btf/sched_switch")
int on_switch(u64* ctx) {
  struct task_struct* previous = (struct task_struct*)ctx[1];
  struct task_struct* next = (struct task_struct*)ctx[2];
  u32 tid = previous->pid; /* 0: the idle task */
  if (pid_level && tid) tid = visible_id(previous);
  if (tid) {
    struct fp_worker* worker = bpf_map_lookup_elem(&workers, &tid);
    if (worker) {
      u64 state = switch_has_state ? ctx[3] & 0xffffffff : state_of(previous);
      switched_out(ctx, ctx[0] & 1, previous, state, worker);
    }
  }
  tid = next->pid;
  if (pid_level && tid) tid = visible_id(next);
  if (tid) {
    struct fp_worker* worker = bpf_map_lookup_elem(&workers, &tid);
    if (worker) switched_in(worker);
  }
  return 0;
}

SEC("tp_btf/sched_process_exit")
int on_thread_exit(u64* ctx) {
  u32 tid = visible_id((struct task_struct*)ctx[0]);
  bpf_map_delete_elem(&workers, &tid);
  return 0;
}

/* A process that replaces itself has no workers any more, though the thread that called exec keeps its id. */
SEC("tp_btf/sched_process_exec")
int on_exec(u64* ctx) {
  u32 tid = visible_id((struct task_struct*)ctx[0]);
  bpf_map_delete_elem(&workers, &tid);
  tid = ctx[1]; /* what it was before in the initial namespace, when it was not the first thread */
  bpf_map_delete_elem(&workers, &tid);
  return 0;
}

#endif
