/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Maps, settings and loss counters. All sizes here are defaults that userspace/session overrides before loading.
 *
 * A full map latches: one failed insertion sets its flag, and from then on a key that is not there is only counted.
 * Keys that are there keep being updated. (A failed insertion into a full hash searches every CPU's free list.)
 */
#ifndef FIBERPROF_BPF_MAPS_H
#define FIBERPROF_BPF_MAPS_H

#include "kernel.h"
#include "shared.h"

#define ENOENT 2
#define EEXIST 17
#define E2BIG 7

/* Set before loading; the verifier removes what they switch off. */
const volatile __u8 filter_processes = 0; /* only processes in `processes` */
const volatile __u8 switch_has_state = 0; /* sched_switch passes the state of the thread that leaves (5.18) */
const volatile __u64 min_wait_ns = 0;     /* shorter waits are not recorded, nor counted as lost */
const volatile __u32 reasons = ~0u;       /* bit i: waits of reason i are recorded */
const volatile __u8 wakers = 0;           /* who ended each wait is recorded (waker.bpf.h) */
const volatile __u64 rough_bit = 0;       /* FIBERPROF_PARKED_ROUGH, in the sampled tier */
const volatile __u32 pid_level = 0;       /* fiberprof's own pid namespace: its depth and number; 0: the initial one */
const volatile __u32 pid_namespace = 0;
/* Offsets in the structures of include/fiberprof/registry.h. */
const volatile __u32 worker_current_at = 0; /* current_fiber; fiber_entry and fiber follow it */
const volatile __u32 fiber_entry_at = 0;
const volatile __u32 fiber_name_at = 0;

/* Set when the probes are about to be attached. */
__u64 attached_ns = 0;
/* A lower bound of the time since then. Waits shorter than it need no clock to be known to lie inside the session,
 * which is nearly all of them: the clock costs 20 ns. Only ever grows, so a stale copy is safe. */
__u64 elapsed_at_least = 0;

/* Between two ticks of a watched runtime's clock, as fibers_sample tells: the mean of the last few, of all watched. */
__u64 tick_ns = 1000000;

__u64 slots_taken = 0; /* from free_slots, ever */
__u8 blocked_full = 0;
__u8 offcpu_full = 0;
__u8 oncpu_full = 0;
__u8 stacks_full = 0;
__u8 deep_stacks_full = 0;
__u8 worker_stacks_full = 0;
__u8 leaves_full = 0;
__u32 leaves_kept = 0;
__u8 workers_full = 0;
__u8 queues_full = 0;
__u8 queued_full = 0;
__u8 times_full = 0;
__u8 chains_full = 0;

/* The exact tier's. */
struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(max_entries, 1);
  __type(key, struct fp_blocked_key);
  __type(value, struct fp_blocked_value);
} blocked SEC(".maps");

/*
 * The sampled tier's: one for all CPUs, as its events are bounded to some thousands a second, so that CPUs do not meet.
 * What userspace has to look at every second lies in memory that it maps: copying twenty thousand entries out of a hash
 * took 11 ms. A slot is found by its key, and comes from a list; both are as long as the array.
 */
struct {
  __uint(type, BPF_MAP_TYPE_ARRAY);
  __uint(map_flags, BPF_F_MMAPABLE);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct fp_blocked_slot);
} blocked_slots SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1);
  __type(key, struct fp_blocked_key);
  __type(value, __u32);
} slot_of SEC(".maps");

/* First in, first out. */
struct {
  __uint(type, BPF_MAP_TYPE_QUEUE);
  __uint(max_entries, 1);
  __type(value, __u32);
} free_slots SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_HASH);
  __uint(max_entries, 4096);
  __type(key, struct fp_offcpu_key);
  __type(value, struct fp_offcpu_value);
} offcpu SEC(".maps");

/* Not per CPU: a CPU adds to it a hundred times a second. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, struct fp_oncpu_key);
  __type(value, __u64);
} oncpu SEC(".maps");

/* By process id. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, __u32);
  __type(value, struct fp_worker_time);
} worker_times SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 24576);
  __type(key, __u64);
  __type(value, struct fp_short_stack);
} stacks SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, __u64);
  __type(value, struct fp_stack);
} deep_stacks SEC(".maps");

/* Apart from those of waits, so that neither can take the other's room: a program with ten thousand places to wait has
 * as many places where the kernel takes a worker away from it. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 8192);
  __type(key, __u64);
  __type(value, struct fp_stack);
} worker_stacks SEC(".maps");

/* By the key of the off-CPU user stack it belongs to. 4 MiB. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 2048);
  __type(key, __u64);
  __type(value, struct fp_leaf);
} leaves SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, struct fp_queue_key);
  __type(value, struct fp_queue_value);
} queues SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, __u32);
  __type(value, struct fp_counters);
} counters SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, struct fp_queued_key);
  __type(value, struct fp_queued_value);
} queued SEC(".maps");

/* By process id. One for all CPUs: per CPU it would take 90 MB on 64 of them. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 1024);
  __type(key, __u32);
  __type(value, struct fp_delay_value);
} delays SEC(".maps");

/* Workers by thread id. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 8192);
  __type(key, __u32);
  __type(value, struct fp_worker);
} workers SEC(".maps");

/* By process id. Which are watched, when `filter_processes`. */
struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 4096);
  __type(key, __u32);
  __type(value, struct fp_process);
} processes SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, struct fp_losses);
} losses SEC(".maps");

/*
 * Since 6.13 a program of a uprobe may get its stack from memory of the CPU instead of the task's (x86-64, from 64
 * bytes on). Where the kernel is preemptible, so are these programs, and another task's event on the same CPU then runs
 * the same program over the stack of the one that was preempted: on 7.3.4 (PREEMPT_LAZY) a pointer came back as zero,
 * and the kernel with it to a halt. A program with a tail call keeps the task's stack (check_max_stack_depth), also if
 * it is never made: the verifier looks for the instruction before it removes what cannot be reached.
 */
struct {
  __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
  __uint(max_entries, 1);
  __type(key, __u32);
  __type(value, __u32);
} no_programs SEC(".maps");
const volatile __u8 never = 0;
#define STAY_ON_THE_TASKS_STACK(ctx) \
  if (never) bpf_tail_call(ctx, &no_programs, 0)

/* All zero: what a new entry starts as (too large for the 512-byte stack). */
static const struct fp_blocked_value no_waits;
static const struct fp_blocked_key no_key;
static const struct fp_offcpu_value no_offcpu;
static const struct fp_delay_value no_delays;
static const struct fp_worker_time no_time;

/* Adds are atomic although the maps are per CPU: since Linux 6.x uprobe programs are preemptible, and a program
 * preempted between load and store would write back a value thousands of events old. `lock add` costs 5 ns. */
#define ADD(where, what) __sync_fetch_and_add(&(where), (what))

/* Before 6.4 the kernel's update functions return an int in a 64-bit register whose upper half is anything: as a long,
 * no comparison with -E2BIG is ever true (seen on 6.1). */
static __always_inline int insert(void* map, const void* key, const void* value) {
  return (int)bpf_map_update_elem(map, key, value, BPF_NOEXIST);
}

static __always_inline void lost(enum fp_loss cause, u64 events) {
  u32 zero = 0;
  struct fp_losses* counts = bpf_map_lookup_elem(&losses, &zero);
  if (counts) ADD(counts->count[cause], events);
}

static __always_inline u32 log2_of(u64 value) {
  u32 result = 0;
  if (value >> 32) {
    value >>= 32;
    result += 32;
  }
  if (value >> 16) {
    value >>= 16;
    result += 16;
  }
  if (value >> 8) {
    value >>= 8;
    result += 8;
  }
  if (value >> 4) {
    value >>= 4;
    result += 4;
  }
  if (value >> 2) {
    value >>= 2;
    result += 2;
  }
  if (value >> 1) result += 1;
  return result;
}

static __always_inline u32 bucket_of(u64 ns) {
  u32 bucket = log2_of(ns);
  return bucket < FP_BUCKETS ? bucket : FP_BUCKETS - 1;
}

/* Ids of threads and processes are everywhere those that fiberprof itself sees, so that userspace never translates.
 * 0: not visible from its pid namespace. */
static __always_inline u32 visible_id(const struct task_struct* task) {
  if (!pid_level) return BPF_CORE_READ(task, pid);
  const struct pid* id = BPF_CORE_READ(task, thread_pid);
  if (!id || BPF_CORE_READ(id, level) < pid_level) return 0;
  /* not CO-RE: the relocation knows the array but not its length; struct upid has been {int, pointer} since 2007 */
  struct {
    int nr;
    const struct pid_namespace* ns;
  } number = {};
  const char* numbers = (const char*)__builtin_preserve_access_index(&id->numbers);
  if (bpf_probe_read_kernel(&number, sizeof(number), numbers + pid_level * sizeof(number))) return 0;
  const struct pid_namespace* namespace = number.ns;
  return BPF_CORE_READ(namespace, ns.inum) == pid_namespace ? number.nr : 0;
}

/* 0: not one of ours. */
static __always_inline u32 watched_process(void) {
  u32 tgid;
  if (pid_level)
    tgid = visible_id(BPF_CORE_READ((struct task_struct*)bpf_get_current_task(), group_leader));
  else
    tgid = bpf_get_current_pid_tgid() >> 32;
  if (filter_processes && !bpf_map_lookup_elem(&processes, &tgid)) return 0;
  return tgid;
}

#endif
