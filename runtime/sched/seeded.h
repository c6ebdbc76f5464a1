// SPDX-License-Identifier: BSD-2-Clause
// A run that is determined by a seed (Options::seed, FIBER_SCHED_SEED), so that an interleaving found once can be
// replayed: one processor, and everything that may go one way or the other is drawn from one generator.
//
//   who runs next   any of the runnable fibers, each as likely as the others. The processor's queue is emptied into a
//                   set of them at every scheduling decision (Scheduler::look_seeded).
//   when it stops   besides where it parks, at one in four synchronisation points: sync_point() at the public entry of
//                   an operation, before any lock is taken.
//   what time it is the runtime's clock is simulated (sched/clock.h). It stands still but for a step per scheduling
//                   decision and per look at it, and when nothing is runnable it jumps to the next timer, or up to
//                   kMostLate beyond, so that timers close to each other expire in any order. While something outside
//                   may still wake a fiber (a socket, a blocking section, a foreign thread), that time is waited for.
//
// What it costs when off: nothing on the way of a switch, since with a seed the processor's countdown is kept where
// every switch leads to the scheduler's loop anyway; nothing where an object is locked, since without a bias that takes
// the slow way anyway (lock_object_at_entry); and a test in operations that lock no object.
#pragma once

#include <atomic>
#include <cstdint>

#include "sched/clock.h"

namespace fiber::detail::seeded {

extern std::atomic<bool> is_on;
inline bool on() { return is_on.load(std::memory_order_relaxed); }

// Before the first worker starts, and after the last has ended. A seed of 0: off.
void start(std::uint64_t seed);
void stop();

// The generator. For the worker that holds the processor.
std::uint64_t random();

// Whoever waited for something outside did so for `ns` of the `most` that were left until the next timer.
void time_passed(std::uint64_t ns, std::uint64_t most);

// " [FIBER_SCHED_SEED=7]", for messages that a run ends with; empty without a seed.
const char* note();

// A place where the calling fiber may be switched away from. It must hold no lock of the runtime. No effect on a thread
// that is no fiber, in a blocking section, and in an Undivided.
void maybe_yield();
inline void sync_point() {
  if (on()) [[unlikely]]
    maybe_yield();
}

// For as long as it lives, public operations called inside the runtime are no synchronisation points: the caller holds
// a lock. It must not park.
class Undivided {
 public:
  Undivided() { depth_.fetch_add(1, std::memory_order_relaxed); }
  ~Undivided() { depth_.fetch_sub(1, std::memory_order_relaxed); }
  Undivided(const Undivided&) = delete;
  Undivided& operator=(const Undivided&) = delete;
  static bool any() { return depth_.load(std::memory_order_relaxed) != 0; }

 private:
  static std::atomic<int> depth_;
};

}  // namespace fiber::detail::seeded
