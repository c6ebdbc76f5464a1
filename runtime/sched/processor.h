// SPDX-License-Identifier: BSD-2-Clause
// Processors and worker threads. A worker needs a processor to run fibers; there are as many processors as fibers may
// run at once, and more workers than that while some sit in blocking sections.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>

#include "context/sanitizer.h"
#include "probe/sampling.h"
#include "sched/fiber_pool.h"
#include "sched/local_queue.h"
#include "sched/spinlock.h"
#include "stack/overflow.h"
#include "time/timers.h"

namespace fiber::detail {

struct Worker;

inline constexpr std::uint32_t kNone = ~std::uint32_t{0};

// Free memory blocks of one size, for what every spawn needs and malloc takes 40 ns to give and take.
// Whoever searches memory for what the program can still reach must not find what old blocks hold: so the links are
// kept inverted.
struct SmallBlocks {
  static constexpr std::size_t kSize = 64;
  static constexpr std::uint32_t kMost = 256;
  struct Block {
    std::uintptr_t inverted_next;
  };
  std::uintptr_t inverted_head = 0;  // 0: none
  std::uint32_t count = 0;

  void push(void* memory) {
    new (memory) Block{inverted_head};
    inverted_head = ~reinterpret_cast<std::uintptr_t>(memory);
    ++count;
  }
  // Only when there is one.
  void* pop() {
    auto* block = reinterpret_cast<Block*>(~inverted_head);
    inverted_head = block->inverted_next;
    --count;
    return block;
  }
};

struct alignas(128) Processor {
  fiberprof_processor record{};
  std::atomic<Worker*> worker{nullptr};  // the monitor looks, too
  LocalQueue queue;
  // Scheduling decisions until the next that does more than take the next fiber, counting that one, and how many they
  // were when last set (Scheduler::decide_slowly).
  std::uint32_t decisions_left = 1, decisions_step = 1;
  std::uint32_t until_tick = 1;  // of these, until the next in which timers are looked at
  std::uint32_t ticks = 0;       // how many such there were
  bool round_due = false;        // the global queue, other processors' timers and sockets get their turn
  // Its owner's, but the monitor looks. Above 1: so many readied fibers less one go without waking anybody
  // (Scheduler::enqueue_next). 1: none, but earlier ones did. 0 while idle.
  std::atomic<std::uint32_t> wakes_to_skip{0};
  std::uint32_t set_aside = 0;            // runnable, but not in `queue` (sched/seeded.h)
  FiberBatch free;                        // for the next fibers spawned here
  std::uint64_t next_id = 0, end_id = 0;  // ids for them
  SmallBlocks small_blocks;
  sampling::ShortDraws draws;  // runtime/probe's
  // Not 0: its worker is in this blocking section; whoever swaps it to 0 owns the processor.
  std::atomic<std::uint64_t> blocking{0};
  TimerHeap timers;
  Processor* next_idle = nullptr;
  // for the handoff probe
  std::uint32_t last_tid = 0;
  std::uint32_t handoff_why = 0;
  std::uint64_t handoff_fiber = 0;
  // the monitor's notes
  std::uint64_t seen_blocking = 0;
  std::uint64_t seen_blocking_ns = 0;
  std::uint64_t seen_switches = 0;
  std::uint64_t seen_switches_ns = 0;
  bool overrun_told = false;
  std::uint64_t seen_parks = 0;

  // As new, for another run. Threads that earlier runs left behind may still try to take `blocking` back, in vain.
  void reset(bool thieves) {
    queue.reset(thieves);
    blocking.store(0, std::memory_order_relaxed);
    record = {};
    worker.store(nullptr, std::memory_order_relaxed);
    decisions_left = decisions_step = until_tick = 1;
    round_due = false;
    ticks = set_aside = 0;
    wakes_to_skip.store(0, std::memory_order_relaxed);
    free = {};
    next_id = end_id = 0;
    timers.clear();
    draws.reset();
    next_idle = nullptr;
    last_tid = handoff_why = 0;
    handoff_fiber = 0;
    seen_blocking = seen_blocking_ns = seen_switches = seen_switches_ns = seen_parks = 0;
    overrun_told = false;
  }

  // The next decision is a slow one.
  void decide_slowly_next() {
    decisions_step -= decisions_left - 1;
    decisions_left = 1;
  }
  std::uint32_t depth() const { return queue.size() + __atomic_load_n(&set_aside, __ATOMIC_RELAXED); }

  // Owner. Whether to leave it at that, with a fiber just readied.
  bool skip_wake() {
    const std::uint32_t left = wakes_to_skip.load(std::memory_order_relaxed);
    if (left <= 1) return false;
    wakes_to_skip.store(left - 1, std::memory_order_relaxed);
    return true;
  }
  // Any thread. Whether it goes on running one fiber for a few microseconds; looks for as long.
  bool stands_still() const;
};

// What must be done with the fiber that was switched away from, once it really is off its stack.
struct AfterSwitch {
  // unlock_probed: as unlock, and the fiber that runs next has a wait to report
  enum class Kind : std::uint8_t { nothing, unlock, unlock_probed, commit, requeue, requeue_global, recycle };
  Kind kind = Kind::nothing;
  void* argument = nullptr;  // unlock, unlock_probed: LockByte*; commit: Claim*; else the Fiber* itself
};

struct alignas(64) Worker {
  fiberprof_worker record{};
  std::uint32_t index = 0;
  std::uint64_t place = 0;      // index of the processor and, in the upper half, this one's
  std::uint16_t bias = 0xffff;  // object_lock.h
  Processor* processor = nullptr;
  Processor* local = nullptr;  // the same, but null in a blocking section, where it may be somebody else's by now
  Fiber* current = nullptr;
  std::uintptr_t scheduler_context = 0;
  [[no_unique_address]] SanitizerStack sanitizer;  // of the thread's own stack
  AfterSwitch after;
  ExceptionState* exceptions = nullptr;  // this thread's
  bool spinning = false;                 // looks for work; counted in Scheduler::spinning
  bool woken_in_vain = false;            // somebody woke it to look for work, and it has not found any yet
  bool in_blocking = false;              // in a blocking section: `processor` may be somebody else's by now
  std::uint64_t blocking_token = 0;
  std::uint64_t blocking_started = 0;
  std::uint64_t random = 0;
  bool processor_taken = false;  // guarded by Scheduler::lock_: in a section, and the processor is gone
  bool left_behind = false;      // the same: its run is over; when the section ends it sleeps for ever
  std::atomic<bool> exited{false};
  // idle: sleeps on `wake` until it is 1; the waker has set `processor`
  std::atomic<std::uint32_t> wake{0};
  Worker* next_idle = nullptr;  // idle workers, and workers without a thread
  SignalStack signal_stack;
  std::thread thread;
};

}  // namespace fiber::detail
