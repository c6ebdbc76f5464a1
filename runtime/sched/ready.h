// SPDX-License-Identifier: BSD-2-Clause
// ready() for the hot path of channels, inlined: the calls of the general one were a tenth of a ping-pong.
#pragma once

#include "registry/registry.h"
#include "sched/scheduler.h"

namespace fiber::detail {

// As ready(fiber, ReadyHint::next), for a caller that has told the probes itself (probe::channel_done).
[[gnu::always_inline]] inline void ready_unprobed(Fiber* fiber) {
  set_state(fiber, FIBERPROF_FIBER_RUNNABLE);
  const Worker* worker = this_worker();
  if (worker != nullptr && worker->local != nullptr) [[likely]] {
    Processor* processor = worker->local;
    processor->queue.push_next(fiber);
    if (!processor->queue.has_thieves()) return;
    if (processor->wakes_to_skip != 0) {
      --processor->wakes_to_skip;
      return;
    }
    Scheduler::instance().wake_for_next(processor);
  } else {
    Scheduler::instance().enqueue_outside(fiber);
  }
}

}  // namespace fiber::detail
