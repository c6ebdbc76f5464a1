/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a worker thread does with its time: on its CPU, runnable but without one, blocked in the kernel; why, and which
 * fiber it held meanwhile.
 *
 * Everything is learnt at the moment the thread is switched out, when it is still the current task: the fiber on it
 * from the worker's own record in its memory, the reason from the registers it entered the kernel with. Nothing is
 * attached to system calls, so those that do not sleep cost nothing.
 */
#ifndef FIBERPROF_BPF_OFFCPU_H
#define FIBERPROF_BPF_OFFCPU_H

#include "filter.bpf.h"
#include "waker.bpf.h"
#include "worker.bpf.h"

static __always_inline u64 state_of(struct task_struct* task) {
  if (bpf_core_field_exists(task->__state)) return BPF_CORE_READ(task, __state);
  return BPF_CORE_READ((struct task_struct___before_5_14*)task, state);
}

/* Why a thread with these registers sleeps in this state. */
static __always_inline void find_cause(struct fp_worker* worker, const struct pt_regs* regs, u64 state) {
  struct fp_offcpu_key* why = &worker->why;
  s64 nr = SYSCALL_NR(regs);
  if (state & TASK_STOPPED_OR_TRACED) { /* by a signal or a debugger, maybe in the middle of a system call */
    why->cause = FP_STOPPED;
    return;
  }
  if (nr < 0) {
    why->cause = FP_FAULT;
    return;
  }
  /* after a signal without a handler a sleep goes on as this one, with whatever it was about out of sight */
  if (nr == NR_restart_syscall) {
    nr = worker->syscall;
  } else {
    worker->syscall = nr;
    worker->futex_op = nr == NR_futex ? SYSCALL_ARG1(regs) & 0x7f : 0;
  }
  why->syscall = nr;
  if (nr == NR_futex || nr == NR_futex_waitv || nr == NR_futex_wait) {
    why->cause = FP_FUTEX;
    why->futex_op = worker->futex_op;
  } else if (IS_POLL(nr)) {
    why->cause = FP_POLL;
  } else if ((state & TASK_STATE_MASK) == TASK_UNINTERRUPTIBLE) {
    why->cause = FP_DISK;
  } else {
    why->cause = FP_SYSCALL;
  }
}

/*
 * For how long the worker could have run before it got its CPU back. `value`: of that time off its CPU, 0: none; as at
 * every switch interrupts are off here, nobody else touches this CPU's entry.
 */
static __always_inline void was_runnable(struct fp_worker_time* time, struct fp_offcpu_value* value, u64 ns) {
  if (time) {
    ADD(time->runnable_ns, ns);
    if (ns > time->max_runnable_ns) time->max_runnable_ns = ns;
    ADD(time->runnable[bucket_of(ns)], 1);
  }
  if (value) value->runnable_ns += ns;
}

/* What the worker's last time off its CPU, of `ns`, is added to; 0: nothing. */
static __always_inline struct fp_offcpu_value* offcpu_of(const struct fp_worker* worker, u64 ns) {
  if (ns < min_wait_ns || worker->unwanted) return 0;
  return bpf_map_lookup_elem(&offcpu, &worker->why);
}

static __always_inline struct fp_offcpu_value* new_offcpu_of(const struct fp_worker* worker, u64 ns) {
  struct fp_offcpu_value* value = offcpu_of(worker, ns);
  if (value || ns < min_wait_ns || worker->unwanted) return value;
  if (!offcpu_full && insert(&offcpu, &worker->why, &no_offcpu) == -E2BIG) offcpu_full = 1;
  value = offcpu_of(worker, ns);
  if (!value) lost(FP_LOST_OFFCPU_FULL, 1);
  return value;
}

static __always_inline void switched_in(struct fp_worker* worker, u64 now) {
  const u64 start = worker->start_ns, woken = worker->woken_ns;
  struct fp_worker_time* time = time_of(worker->why.tgid);
  if (time) ADD(time->on_cpu_ns, worker->ran_ns);
  worker->ran_ns = 0;
  worker->on_ns = now;
  worker->seen = 1;
  if (!start) return;
  worker->start_ns = 0;
  const u64 ns = now - start;
  if (time) ADD(time->off_cpu_ns, ns);
  if (wakers && worker->fiber) end_off_cpu(worker->why.tgid, worker->fiber, &worker->why, start, now);
  struct fp_offcpu_value* value = new_offcpu_of(worker, ns);
  if (value) {
    value->total_ns += ns;
    if (ns > value->max_ns) value->max_ns = ns;
    value->histogram[bucket_of(ns)]++;
  }
  if (woken)
    was_runnable(time, value, woken < now ? now - woken : 0);
  else
    worker->slept_ns = ns;
}

/*
 * A kernel may keep programs from running in the context of some of its threads (seen: in that of process 1). It is the
 * thread before that is current when a worker is switched in, and any thread when an interrupt wakes a worker. What was
 * missed is made up for, once the worker is seen again, by what the kernel itself counts of it.
 */
static __always_inline void came_back_unseen(struct fp_worker* worker, struct task_struct* task, u64 now) {
  const u64 since = now - (task->se.sum_exec_runtime - worker->task_ns);
  switched_in(worker, since > worker->start_ns && since <= now ? since : worker->start_ns);
  lost(FP_UNSEEN, 1);
}

static __always_inline void was_woken_unseen(struct fp_worker* worker, struct task_struct* task) {
  const u64 slept = worker->slept_ns;
  worker->slept_ns = 0;
  if (!bpf_core_field_exists(task->sched_info)) return;
  u64 runnable = task->sched_info.run_delay - worker->delay_ns;
  if (runnable > slept) runnable = slept;
  was_runnable(time_of(worker->why.tgid), offcpu_of(worker, slept), runnable);
  lost(FP_UNSEEN, 1);
}

/* What the kernel has counted of the worker as it leaves its CPU. */
static __always_inline void note_counts(struct fp_worker* worker, struct task_struct* task) {
  worker->task_ns = task->se.sum_exec_runtime;
  if (bpf_core_field_exists(task->sched_info)) worker->delay_ns = task->sched_info.run_delay;
}

static __always_inline void switched_out(void* ctx, int preempted, struct task_struct* task, u64 state,
                                         struct fp_worker* worker) {
  struct fp_offcpu_key* why = &worker->why;
  const u64 now = bpf_ktime_get_ns();
  if (worker->start_ns) came_back_unseen(worker, task, now);
  if (worker->slept_ns) was_woken_unseen(worker, task);
  note_counts(worker, task);
  worker->seen = 1;
  worker->ran_ns += now - worker->on_ns;
  worker->on_ns = now; /* if it ends now, or nothing can be found out about it */
  if (state & TASK_DEAD) return;
  why->cause = FP_PREEMPTED;
  why->syscall = -1;
  why->futex_op = 0;
  why->fiber_entry = 0;
  why->user_stack = 0;
  why->kernel_stack = 0;
  const u64 fiber = fiber_on(worker, &why->fiber_entry);
  worker->fiber = fiber;
  why->on_fiber = fiber != 0;
  preempted = preempted || !state;
  worker->woken_ns = preempted ? now : 0;
  worker->start_ns = now;
  if (filter_sites || filter_names) {
    worker->unwanted = !has_wanted_fiber(worker);
    /* it may still explain a wait that is wanted */
    if (worker->unwanted && !(wakers && fiber)) return;
  }

  struct pt_regs regs;
  const int known = !user_registers(task, &regs);
  if (!known) lost(FP_LOST_USER_MEMORY, 1);
  if (!preempted && known) find_cause(worker, &regs, state);
  if (fiber && known) why->user_stack = worker_stack(why->tgid, &regs, 0, ~0u);
  /* an idle worker sleeps thousands of times a second, always at the same place in the kernel: 1 us each saved */
  if (!preempted && (fiber || (why->cause != FP_FUTEX && why->cause != FP_POLL)))
    why->kernel_stack = kernel_stack(ctx, 0);
}

SEC("tp_btf/sched_switch")
int on_switch(u64* ctx) {
  struct task_struct* previous = (struct task_struct*)ctx[1];
  struct task_struct* next = (struct task_struct*)ctx[2];
  struct fp_worker* worker = worker_of(previous);
  if (worker) {
    u64 state = switch_has_state ? ctx[3] & 0xffffffff : state_of(previous);
    switched_out(ctx, ctx[0] & 1, previous, state, worker);
  }
  worker = worker_of(next);
  if (worker) switched_in(worker, bpf_ktime_get_ns());
  return 0;
}

/* A new thread needs no such program: it makes itself known as a worker when it runs. */
SEC("tp_btf/sched_wakeup")
int on_wakeup(u64* ctx) {
  struct fp_worker* worker = worker_of((struct task_struct*)ctx[0]);
  /* woken before it was switched out: it never left, or was preempted */
  if (worker && worker->start_ns && !worker->woken_ns) worker->woken_ns = bpf_ktime_get_ns();
  return 0;
}

SEC("tp_btf/sched_process_exit")
int on_thread_exit(u64* ctx) {
  u32 tid = visible_id((struct task_struct*)ctx[0]);
  worker_ends(tid);
  return 0;
}

/* A process that replaces itself has no workers any more, though the thread that called exec keeps its id. */
SEC("tp_btf/sched_process_exec")
int on_exec(u64* ctx) {
  u32 tid = visible_id((struct task_struct*)ctx[0]);
  worker_ends(tid);
  tid = ctx[1]; /* what it was before in the initial namespace, when it was not the first thread */
  worker_ends(tid);
  return 0;
}

#endif
