// SPDX-License-Identifier: BSD-2-Clause
// Starting the runtime.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "fiber/config.h"
#include "fiber/fiber.h"

namespace fiber {

// How the runtime is set up. A value of 0 means: take the environment variable, else the default.
struct Options {
  // Processors: how many fibers run at the same time. FIBER_PROCS; default: the CPUs this thread may run on.
  // 1 to 1024.
  unsigned processors = 0;
  // Bytes of stack per fiber, rounded up to a page. FIBER_STACK_SIZE; default 128 KiB. 16 KiB to 1 GiB. Only pages
  // that are touched cost memory. A guard page comes on top.
  std::size_t stack_size = 0;
  // How long a worker without anything to do goes on looking for events of sockets before it sleeps; 0 (the default) to
  // 10 ms. Only while events come about as quickly as that: then it costs a CPU that is busy for the most part the rest
  // of it, and spares the peer, if it is on the same machine, waking a thread with each message.
  std::chrono::nanoseconds busy_poll{0};
  // Whether to print all fibers and abort when every fiber is asleep and nothing can wake one.
  // FIBER_DEADLOCK_CHECK=0 turns it off.
  bool deadlock_check = true;
  // Whether a fiber or thread that would wait for itself prints a message and aborts: a mutex or rwlock asked for again
  // by its owner, a rwlock asked for writing by its reader, a once called from inside its own function. Off, it waits:
  // for ever, or until the limit of the wait; then tools can be asked why. FIBER_SELF_LOCK_CHECK=0 turns it off.
  bool self_lock_check = true;
  // Not 0: the run is determined by this number, so that an interleaving found once can be replayed. FIBER_SCHED_SEED;
  // default 0: off. There is one processor then, whatever `processors` and FIBER_PROCS say. Which of the runnable
  // fibers runs next is drawn at random, and at synchronisation points (channels, select, locks, wait groups, spawn,
  // join, cancel and the like) a fiber may be switched away from without having to wait. Time (fiber::Clock) is
  // simulated: it starts at the present, and jumps to the next timer when nothing else can happen, so sleeping takes
  // no time.
  //
  // The same program with the same seed does the same, unless it depends on something outside: threads of its own,
  // sockets, a blocking section of more than 100 ms, another clock, addresses, ids. While there may be something
  // outside that wakes a fiber, time is waited for. A fiber that calls into the runtime with a lock of another library
  // held (a std::mutex) may be switched away from there, and the next to want that lock then blocks for ever; inside
  // blocking() that does not happen.
  std::uint64_t seed = 0;
};

namespace detail {
FIBER_API void run(const Options& options, const std::function<void()>& main_fiber, const void* entry);
}

// Runs `main_fiber` as the first fiber and returns once it has returned. Fibers that are still alive then are not
// run any further: they are abandoned where they stand, without unwinding. The calling thread only waits; it must
// not be a fiber. The runtime can be run again afterwards, one at a time per process.
// Invalid options or environment values print a message and exit with status 2.
template <class F>
void run(const Options& options, F&& main_fiber) {
  detail::run(
      options, [&main_fiber] { detail::call_named(main_fiber); }, detail::entry_of(main_fiber));
}

template <class F>
void run(F&& main_fiber) {
  run(Options{}, std::forward<F>(main_fiber));
}

// Number of processors of the running runtime; 0 when none is running. Any thread.
FIBER_API unsigned processor_count();

}  // namespace fiber
