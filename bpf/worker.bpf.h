/* SPDX-License-Identifier: BSD-2-Clause */
/* Worker threads as the kernel sees them: which they are, the fiber on one, its stacks, its process's time. */
#ifndef FIBERPROF_BPF_WORKER_H
#define FIBERPROF_BPF_WORKER_H

#include "leaf.bpf.h"

/* 0: the thread is no worker. */
static __always_inline struct fp_worker* worker_by_id(u32 tid) {
  return tid ? bpf_map_lookup_elem(&workers, &tid) : 0; /* 0: the idle task */
}

static __always_inline struct fp_worker* worker_of(const struct task_struct* task) {
  u32 tid = task->pid;
  if (pid_level && tid) tid = visible_id(task);
  return worker_by_id(tid);
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

/* Registers with which the current task entered the kernel. `task`: itself, as the kernel version at hand wants it. */
static __always_inline long user_registers(struct task_struct* task, struct pt_regs* regs) {
  const void* from;
  if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_task_pt_regs))
    from = (const void*)bpf_task_pt_regs(task);
  else /* before 5.15 nothing lies between them and the end of the stack */
    from = (const char*)BPF_CORE_READ(task, stack) + KERNEL_STACK_SIZE - sizeof(struct pt_regs);
  return bpf_probe_read_kernel(regs, sizeof(*regs), from);
}

static __always_inline struct task_struct* current_task(void) {
  if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf)) return bpf_get_current_task_btf();
  return (struct task_struct*)bpf_get_current_task();
}

/* Key of a kernel stack whose frames, `size` bytes of them, are in scratch; 0: not stored. */
static __always_inline u64 kernel_stack_in(u32 slot, struct fp_scratch* s, long size, int only_known) {
  if (size <= 0) {
    lost(FP_LOST_STACK_WALK, 1);
    return 0;
  }
  s->stack.n = size / 8;
  s->stack.kernel = 1;
  hash_frames(slot);
  return only_known ? known_stack(slot, s) : store_stack(slot, s);
}

/* Key of the current task's kernel stack; 0: not stored. */
static __always_inline u64 kernel_stack(void* ctx, int only_known) {
  const u32 slot = SCRATCH_SWITCH;
  struct fp_scratch* s = bpf_map_lookup_elem(&scratch, &slot);
  if (!s) return 0;
  return kernel_stack_in(slot, s, bpf_get_stack(ctx, s->stack.frames, sizeof(s->stack.frames), 0), only_known);
}

static __always_inline struct fp_worker_time* time_of(u32 tgid) {
  struct fp_worker_time* time = bpf_map_lookup_elem(&worker_times, &tgid);
  if (time) return time;
  if (!times_full && insert(&worker_times, &tgid, &no_time) == -E2BIG) times_full = 1;
  time = bpf_map_lookup_elem(&worker_times, &tgid);
  if (!time) lost(FP_LOST_PROCESS_FULL, 1);
  return time;
}

/* The current thread is no worker any more. */
static __always_inline void worker_ends(u32 tid) {
  struct fp_worker* worker = bpf_map_lookup_elem(&workers, &tid);
  if (!worker) return;
  struct fp_worker_time* time = time_of(worker->why.tgid);
  if (time) ADD(time->on_cpu_ns, worker->ran_ns + bpf_ktime_get_ns() - worker->on_ns);
  bpf_map_delete_elem(&workers, &tid);
}

#endif
