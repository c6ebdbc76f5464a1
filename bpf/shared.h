/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the kernel side and userspace/session both know: keys and values of the maps, names of the loss counters.
 * Plain fixed-size types without padding holes, because a hole in a key is part of the key.
 */
#ifndef FIBERPROF_BPF_SHARED_H
#define FIBERPROF_BPF_SHARED_H

#include <linux/types.h>

#define FP_MAX_FRAMES 127 /* kernel.perf_event_max_stack; also keeps fp_stack at 1 KiB */
#define FP_SHORT_FRAMES 64
#define FP_BUCKETS 44 /* log2 of nanoseconds: the last holds everything from 2.4 hours */
#define FP_DEPTH_BUCKETS 20

/*
 * Stored innermost frame first, under a hash of the frames whose last bits tell the map: FP_KEY_WORKER if a worker
 * thread was found there rather than a fiber at a probe, else FP_KEY_DEEP with more than FP_SHORT_FRAMES frames. Most
 * have far fewer, and there may be tens of thousands of them: at full length they would take twice the memory.
 */
#define FP_KEY_WORKER 1ull
#define FP_KEY_DEEP 2ull

struct fp_stack {
  __u32 n;
  __u32 kernel; /* 1: kernel addresses */
  __u64 frames[FP_MAX_FRAMES];
};

struct fp_short_stack {
  __u32 n;
  __u32 kernel;
  __u64 frames[FP_SHORT_FRAMES];
};

/*
 * What userspace needs to complete the inner end of a worker's user stack where code without frame pointers hides
 * callers from the frame-pointer walk: registers and the innermost part of the stack, kept once per off-CPU stack.
 * Measured with glibc 2.36 from the system call to its caller's frame record: 170 to 420 bytes for a lock, semaphore,
 * condition, nanosleep, read, poll, fread and std::getline; 2,296 for scanf, which stays as the walk found it.
 */
#define FP_LEAF_BYTES 2048

struct fp_leaf {
  __u64 ip, sp, fp;
  __u64 lr;      /* AArch64; else 0 */
  __u64 from;    /* the frame record that the walk began with */
  __u64 guessed; /* how many frames between ip and that record were found by looking for them */
  __u64 length;  /* of `bytes`, from sp upwards */
  __u8 bytes[FP_LEAF_BYTES];
};

struct fp_blocked_key {
  __u32 tgid;
  __u32 reason;
  __u64 stack; /* key into `stacks`; 0: none */
  __u64 chain; /* key into `chains`; 0: none */
};

/* Per CPU in the exact tier. The number of waits is the sum of the histogram. */
struct fp_blocked_value {
  __u64 parked_ns;
  __u64 queued_ns;
  __u64 max_ns;
  __u64 events;
  /*
   * Sampled tier, see runtime/probe/sampling.h: the variance of the total, in 1,024 ns squared, low 32 bits and the
   * rest summed apart so that neither overflows; and that of the number of waits.
   */
  __u64 variance_low, variance_high;
  __u64 count_variance;
  __u64 histogram[FP_BUCKETS];
};

/* The sampled tier. All zero but in use, or about to be, by userspace's list: free. */
struct fp_blocked_slot {
  struct fp_blocked_key key;
  struct fp_blocked_value value;
};

struct fp_queue_key {
  __u32 tgid;
  __u32 processor;
};

struct fp_queue_value {
  __u64 ticks;
  __u64 depth_sum;
  __u64 depth_max;
  __u64 last_depth;
  __u64 state_ticks[3];
  __u64 depth_log2[FP_DEPTH_BUCKETS];
};

struct fp_counters {
  __u64 handoffs;
  __u64 worker_starts;
  __u64 overruns;
  __u64 fibers;   /* that existed at the last tick */
  __u64 fiber_us; /* their number over time */
  __u64 sampled;  /* whether that has begun */
};

/* Fibers that were runnable and had no processor, by the function they were spawned with. */
struct fp_queued_key {
  __u32 tgid;
  __u32 zero;
  __u64 fiber_entry;
};

struct fp_queued_value {
  __u64 total_ns; /* their number over time */
  __u64 samples;
};

/* How long fibers were runnable after a wait, four buckets to a power of two: bucket 4e + f counts from
 * (4 + f) * 2^(e-2) ns on; below 4 ns, bucket i counts i ns. */
#define FP_DELAY_BUCKETS (4 * FP_BUCKETS)

struct fp_delay_value {
  __u64 count[FP_DELAY_BUCKETS];
};

/* Same values as OffCpuCause in userspace/session/snapshot.h, where they are asserted equal. */
enum fp_cause {
  FP_PREEMPTED = 0,
  FP_FUTEX = 1,
  FP_POLL = 2,
  FP_SYSCALL = 3,
  FP_FAULT = 4,
  FP_DISK = 5,
  FP_STOPPED = 6,
};

struct fp_offcpu_key {
  __u32 tgid;
  __u8 cause;
  __u8 on_fiber;
  __u16 zero;
  __s32 syscall; /* -1: none */
  __u32 futex_op;
  __u64 fiber_entry;
  __u64 user_stack;
  __u64 kernel_stack;
};

struct fp_offcpu_value {
  __u64 total_ns;
  __u64 runnable_ns; /* part of it: woken, or preempted, and without a CPU */
  __u64 max_ns;
  __u64 histogram[FP_BUCKETS]; /* their sum is the count */
};

/* Samples of the CPU clock that found a worker: how many is the value. */
struct fp_oncpu_key {
  __u32 tgid;
  __u32 on_fiber;
  __u64 fiber_entry;
  __u64 user_stack;
  __u64 kernel_stack;
};

/* What the workers of a process did with their time, exactly; and how many samples there are to divide it by. */
struct fp_worker_time {
  __u64 on_cpu_ns;
  __u64 off_cpu_ns; /* runnable and those shorter than min_wait_ns included */
  __u64 runnable_ns;
  __u64 max_runnable_ns;
  __u64 samples;
  __u64 fiber_samples;
  __u64 runnable[FP_BUCKETS]; /* histogram of the times from wake-up or preemption to a CPU */
};

/* Where a process keeps code that is compiled with frame pointers: the program, and the runtime if it is a library of
 * its own. Both zero: not known. */
struct fp_process {
  __u64 code_low[2], code_high[2];
};

/* Which fibers a session is about (bpf/filter.bpf.h). */
#define FP_NAME_WORDS 4 /* of 8 bytes: FIBERPROF_NAME_SIZE */
#define FP_MAX_NAME_PATTERNS 8

struct fp_site {
  __u64 entry; /* the spawned function */
  __u32 tgid;
  __u32 zero;
};

/* A name matches if it is the text wherever the mask has bits. */
struct fp_name_pattern {
  __u64 text[FP_NAME_WORDS], mask[FP_NAME_WORDS];
};

/* A worker thread, by its id. */
struct fp_worker {
  __u64 record;   /* address of its struct fiberprof_worker in the process */
  __u64 fiber;    /* id of the fiber on it when it was last switched out; 0: none */
  __u64 start_ns; /* off its CPU since; 0: on it */
  __u64 woken_ns; /* runnable again since; 0: not yet */
  __u64 on_ns;    /* on its CPU since; watched since, if then it was there already */
  __u64 seen;     /* 0: what it does is not known yet */
  __u64 ran_ns;   /* time on its CPU that is not yet in fp_worker_time */
  __u64 task_ns;  /* what the kernel had counted of it when it was last switched out */
  __u64 delay_ns; /* and of its being runnable without a CPU */
  __u64 slept_ns; /* the last time it was off its CPU, if its wake-up was not seen; 0: it was */
  __s32 syscall;  /* in which it slept last, and how */
  __u32 futex_op;
  __u64 unwanted; /* that is not to be recorded */
  struct fp_offcpu_key why;
};

/*
 * Workers that are off their CPU when they begin to be watched (bpf/asleep.bpf.h). What the kernel side has for
 * userspace, and what it is told: good as long as the thread has not run in between, which `switches` tells.
 */
struct fp_asleep {
  __u32 tid;
  __u32 tgid;
  __u64 record;   /* as in fp_worker */
  __u64 switches; /* how often the thread has left its CPU */
  __u64 ip, sp, fp, lr;
};

struct fp_asleep_on {
  __u64 switches;
  __u64 fiber, fiber_entry, user_stack, unwanted; /* as in fp_worker and its key */
};

/*
 * Who ended a wait, and why not earlier (bpf/waker.bpf.h). A link is one wake-up: the waker's stack, and what the waker
 * itself had waited for most of that time, if anything.
 */
#define FP_MAX_CHAIN 8

enum fp_by { FP_BY_FIBER, FP_BY_WORKER, FP_BY_THREAD };
enum fp_why { FP_WHY_RAN, FP_WHY_WAITED, FP_WHY_QUEUED, FP_WHY_OFF_CPU };

struct fp_link {
  __u32 tgid;
  __u8 by;       /* enum fp_by */
  __u8 why;      /* enum fp_why */
  __u8 cause;    /* waited: reason; off CPU: enum fp_cause */
  __u8 reason;   /* of the wait that was ended */
  __s32 syscall; /* off CPU */
  __u32 futex_op;
  __u64 waker_stack;
  __u64 user_stack; /* waited, off CPU: where */
  __u64 kernel_stack;
  char thread[16]; /* by a thread that is no worker: its name */
};

enum fp_chain_end { FP_CHAIN_WHOLE, FP_CHAIN_CYCLE, FP_CHAIN_DEEP };

struct fp_chain {
  __u32 n;
  __u32 end;                 /* enum fp_chain_end */
  __u64 links[FP_MAX_CHAIN]; /* keys into `links`, the wake-up of the wait in question first; 0: none */
};

enum fp_loss {
  FP_LOST_BLOCKED_FULL,
  FP_LOST_OFFCPU_FULL,
  FP_LOST_STACKS_FULL,
  FP_LOST_WORKER_STACKS_FULL,
  FP_LOST_WORKERS_FULL,
  FP_LOST_QUEUES_FULL,
  FP_LOST_QUEUED_FULL,
  FP_LOST_STACK_WALK,      /* the stack could not be read */
  FP_LOST_STACK_TRUNCATED, /* deeper than FP_MAX_FRAMES: cut, not lost */
  FP_LOST_STACK_COLLISION,
  FP_LOST_SCRATCH, /* preempted by another fiber's event in the middle of this one, more often than it retries */
  FP_LOST_USER_MEMORY,
  FP_LOST_MAP_BUSY,
  FP_LOST_ONCPU_FULL,   /* a sample of the CPU clock without its stack */
  FP_LOST_PROCESS_FULL, /* a worker of one process too many ran or slept */
  FP_LOST_FILTER,       /* not known which fiber it was */
  FP_LOST_CHAINS_FULL,
  FP_LOST_WAKER, /* a wait whose wake-up was forgotten before it ended */
  FP_LOST_LEAF,  /* no room or no access for the inner end of a worker's stack: less complete, not lost */
  FP_UNSEEN,     /* a worker was woken or came back to its CPU unseen; when, the kernel's own counts of it tell */
  FP_CLIPPED,    /* waits that began before the attach; only the part since then is in the totals */
  FP_FILTERED,   /* shorter than the wanted minimum, or of a fiber that is not wanted */
  FP_LOSS_COUNT
};

struct fp_losses {
  __u64 count[FP_LOSS_COUNT];
};

#endif
