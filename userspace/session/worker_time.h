// SPDX-License-Identifier: BSD-2-Clause
// What the kernel side knows of the time of worker threads, as plain data: exact totals by process, and samples of the
// CPU clock that tell what they ran. Cumulative since attach, like everything in a snapshot.
#pragma once

#include <array>
#include <cstdint>

namespace fiberprof {

// All worker threads of a process together, exact. What is still going on counts, up to the time of the snapshot.
struct WorkerTime {
  uint64_t on_cpu_ns = 0;
  uint64_t off_cpu_ns = 0;       // blocked, idle or runnable; those shorter than SessionOptions::min_wait_ns included
  uint64_t runnable_ns = 0;      // part of it: woken or preempted, and waiting for a CPU in the kernel's run queue
  uint64_t max_runnable_ns = 0;  // the longest single one that has ended
  uint64_t samples = 0;          // of the CPU clock that found one of the threads
  uint64_t fiber_samples = 0;    // of those, with a fiber on it
  std::array<uint64_t, 44> runnable{};  // log2 histogram of the times behind runnable_ns, those that have ended

  // What `count` of the samples stand for: their share of the exact time.
  uint64_t ns_of(uint64_t count) const {
    if (samples == 0) return 0;
    return static_cast<uint64_t>(static_cast<double>(on_cpu_ns) * static_cast<double>(count) /
                                 static_cast<double>(samples));
  }
};

// A worker thread was seen running, by process, fiber-or-not, spawned function and stacks.
struct OnCpuEntry {
  uint32_t pid = 0;
  bool on_fiber = false;      // false: the scheduler itself
  uint64_t fiber_entry = 0;   // spawned function of the fiber; 0: none, or not known
  uint64_t user_stack = 0;    // StackIds; 0: not taken
  uint64_t kernel_stack = 0;  // 0: it was not in the kernel
  uint64_t samples = 0;
  uint64_t ns = 0;  // WorkerTime::ns_of(samples). Of an interval: scale the difference of the samples anew
};

}  // namespace fiberprof
