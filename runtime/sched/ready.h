// SPDX-License-Identifier: BSD-2-Clause
// ready() for the hot path of channels, inlined: the calls of the general one were a tenth of a ping-pong.
// And what it shares with that: the fiber that runs next on its processor.
#pragma once

#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/scheduler.h"

namespace fiber::detail {

// The fiber that runs will most likely park in a moment, and then the one in `next` runs here: whoever is woken for it
// finds nothing. When that has happened lately, somebody is woken for one in so many only. For those whose processor
// computes on instead there is the monitor: it looks every millisecond while a processor skips wake-ups and another is
// idle.
[[gnu::always_inline]] inline void Scheduler::enqueue_next(Processor* processor, Fiber* fiber) {
  processor->queue.push_next(fiber);
  if (processor->queue.has_thieves() && !processor->skip_wake()) wake_for_next(processor);
}

// The rest of set_woken if the wait took more than a moment, or there is something else about it.
[[gnu::cold]] void set_woken_slow(Fiber* fiber, std::uint64_t clock);

// What everybody does who makes a parked fiber runnable, before it is in any queue.
[[gnu::always_inline]] inline void set_woken(Fiber* fiber) {
  const std::uint64_t clock = coarse_clock();
  if (fiber->record.since != clock) [[unlikely]]
    set_woken_slow(fiber, clock);
  publish_state(fiber, FIBERPROF_FIBER_RUNNABLE);
}

// As ready(fiber, ReadyHint::next).
[[gnu::always_inline]] inline void ready_next(Fiber* fiber) {
  set_woken(fiber);
  const Worker* worker = this_worker();
  if (worker != nullptr && worker->local != nullptr) [[likely]] {
    Scheduler::instance().enqueue_next(worker->local, fiber);
  } else {
    Scheduler::instance().enqueue_outside(fiber);
  }
}

}  // namespace fiber::detail
