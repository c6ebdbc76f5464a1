// SPDX-License-Identifier: BSD-2-Clause
// What the kernel side has counted since a session began: plain data, addresses not yet names. Every number is
// cumulative since attach; a difference of two snapshots is what happened between them.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "session/histogram.h"
#include "session/session_stacks.h"
#include "session/waker_chain.h"
#include "session/worker_time.h"

namespace fiberprof {

// Waits of fibers that have ended, by process, reason, stack and who ended them.
struct BlockedEntry {
  uint32_t pid = 0;    // in the caller's (fiberprof's) pid namespace
  uint8_t reason = 0;  // FIBERPROF_REASON_*
  StackId stack = 0;   // user stack at resume, which is the stack of the wait
  ChainId chain = 0;   // who ended these waits; 0 also without SessionOptions::wakers
  uint64_t count = 0;  // weighted when sampled
  uint64_t parked_ns = 0;
  uint64_t queued_ns = 0;  // runnable, waiting for a processor
  uint64_t max_ns = 0;     // longest single wait, parked + queued, in full even if it began before the attach
  uint64_t events = 0;     // how many probe hits stand behind `count`
  // Sampled: the squares of the standard errors of parked_ns + queued_ns and of `count`.
  double variance_ns2 = 0, count_variance = 0;
  DurationHistogram parked;  // of parked + queued, weighted, in full
};

enum class OffCpuCause : uint8_t {
  preempted = 0,  // switched out while runnable
  futex = 1,      // inside futex(2) or futex_waitv(2)
  poll = 2,       // epoll_wait, poll, select
  syscall = 3,    // any other system call
  fault = 4,      // page fault or other exception
  disk = 5,       // uninterruptible sleep inside a system call
  stopped = 6,    // by a signal or a debugger
};
inline constexpr size_t kOffCpuCauses = 7;

// A worker thread was off its CPU, by process, cause, fiber-or-not, system call and stacks.
struct OffCpuEntry {
  uint32_t pid = 0;
  OffCpuCause cause{};
  bool on_fiber = false;     // false: the scheduler's own idling, which is healthy
  int32_t syscall = -1;      // number, when asleep inside one
  uint32_t futex_op = 0;     // futex operation without flags, when syscall is futex
  uint64_t fiber_entry = 0;  // spawned function of the fiber on the worker; 0: none
  StackId user_stack = 0;
  StackId kernel_stack = 0;
  uint64_t count = 0;        // those still going on included
  uint64_t total_ns = 0;     // the same, up to the time of the snapshot
  uint64_t runnable_ns = 0;  // part of it: woken, or preempted, but not yet on a CPU again
  uint64_t max_ns = 0;
  DurationHistogram duration;  // of those that have ended
};

// Queue depth of one processor, from the monitor's ticks.
struct QueueEntry {
  uint32_t pid = 0;
  uint32_t processor = 0;
  uint64_t ticks = 0;
  uint64_t depth_sum = 0;  // depth_sum / ticks: mean
  uint64_t depth_max = 0;
  uint64_t last_depth = 0;
  std::array<uint64_t, 3> state_ticks{};  // by FIBERPROF_PROCESSOR_*
  std::array<uint64_t, 20> depth_log2{};  // bucket 0: depth 0; bucket i: depth in [2^(i-1), 2^i)
};

// Fibers that were runnable and had no processor, by spawned function, from the monitor's ticks: their number over
// time.
struct QueuedEntry {
  uint32_t pid = 0;
  uint64_t fiber_entry = 0;  // 0: the main fiber
  uint64_t total_ns = 0;
  uint64_t samples = 0;
};

// How long fibers were runnable after a wait before they ran; weighted when sampled. Bucket 4e + f counts from
// (4 + f) * 2^(e-2) ns on; below 4 ns, bucket i counts i ns.
using DelayHistogram = std::array<uint64_t, 4 * kHistogramBuckets>;

// Per process: things that are only counted.
struct ProcessCounters {
  uint64_t handoffs = 0;
  uint64_t worker_starts = 0;
  uint64_t overruns = 0;
  uint64_t fibers = 0;    // that existed at the last tick
  uint64_t fiber_us = 0;  // their number over time: what all fibers lived together, in microseconds
};

// Events that could not be recorded, by cause. Zero everywhere is the normal case, and it is always printed when not.
struct Losses {
  uint64_t blocked_map_full = 0;
  uint64_t offcpu_map_full = 0;
  uint64_t stack_map_full = 0;         // stacks of waits
  uint64_t worker_stack_map_full = 0;  // stacks of workers on and off their CPU
  uint64_t stack_walk_failed = 0;
  uint64_t stack_truncated = 0;
  uint64_t stack_hash_collision = 0;
  uint64_t user_memory_fault = 0;
  uint64_t worker_map_full = 0;
  uint64_t queue_map_full = 0;
  uint64_t queued_map_full = 0;
  uint64_t oncpu_map_full = 0;     // samples of the CPU clock without their stack
  uint64_t process_map_full = 0;   // worker threads of one process too many ran or slept
  uint64_t map_busy = 0;           // the kernel refused an insertion for another reason than a full map
  uint64_t scratch_preempted = 0;  // stack not taken: preempted by other fibers' events too often meanwhile
  uint64_t fiber_not_known = 0;    // by fiber or site: which fiber it was could not be told
  uint64_t chain_map_full = 0;     // who ended a wait was not recorded, or not in full
  uint64_t waker_forgotten = 0;    // the same: there was no room to remember it until the wait ended
  uint64_t leaf_missing = 0;       // the inner end of a worker's stack was not kept: callers of libc may be missing
  uint64_t unseen = 0;             // a worker was woken or came back to its CPU unseen: the kernel's counts told when
  uint64_t filtered = 0;           // waits shorter than the wanted minimum, which are not recorded
  uint64_t clipped = 0;  // waits that began before the attach: counted, but only the part since then is in the totals
  // Of all these, what was lost. stack_truncated, leaf_missing, unseen and clipped are not, those events are recorded;
  // filtered is what was asked for.
  uint64_t total() const {
    return blocked_map_full + offcpu_map_full + stack_map_full + worker_stack_map_full + stack_walk_failed +
           stack_hash_collision + user_memory_fault + worker_map_full + queue_map_full + queued_map_full + map_busy +
           scratch_preempted + oncpu_map_full + process_map_full + chain_map_full + waker_forgotten + fiber_not_known;
  }
};

struct Snapshot {
  uint64_t time_ns = 0;      // CLOCK_MONOTONIC when it was read
  uint64_t attached_ns = 0;  // CLOCK_MONOTONIC when the session attached
  std::vector<BlockedEntry> blocked;
  std::vector<OffCpuEntry> off_cpu;
  std::vector<OnCpuEntry> on_cpu;
  std::unordered_map<uint32_t, WorkerTime> worker_times;  // by pid
  std::vector<QueueEntry> queues;
  std::vector<QueuedEntry> queued;
  std::unordered_map<uint32_t, DelayHistogram> delays;     // by pid
  std::unordered_map<uint32_t, ProcessCounters> counters;  // by pid
  Losses losses;
  // Instruction addresses, innermost first, of every stack named above, and maybe of more. Kernel stacks hold kernel
  // addresses.
  SessionStacks stacks;
  std::unordered_map<ChainId, WakerChain> chains;  // those named above
};

}  // namespace fiberprof
