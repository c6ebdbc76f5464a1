// SPDX-License-Identifier: BSD-2-Clause
// The hot path of every park: pick the next fiber, switch to it, complete the switch. Inlined into park and yield: as
// calls these made up a third of a park's instructions.
#pragma once

#include "registry/registry.h"
#include "sched/scheduler.h"

namespace fiber::detail {

// Every so many decisions a processor looks at the global queue, timers and sockets first. Prime, as in Go, so that it
// does not fall into step with a program's own pattern.
inline constexpr std::uint32_t kFairnessTick = 61;
// How many decisions apart the clock is read while timers are armed: 22 ns spread over 8.
inline constexpr std::uint32_t kTimerTick = 8;

[[gnu::always_inline]] inline void Scheduler::start_running(Worker* worker, Fiber* fiber) {
  Processor* processor = worker->processor;
  worker->current = fiber;
  publish(worker->record.current_fiber, fiber->record.id);
  publish(worker->record.fiber_entry, fiber->record.entry);
  publish(fiber->record.worker, worker->index);
  publish(fiber->record.processor, processor->record.index);
  publish(processor->record.switches, processor->record.switches + 1);
  set_state(fiber, FIBERPROF_FIBER_RUNNING);
  if (fiber->has_exceptions) {
    *worker->exceptions = fiber->exceptions;
    fiber->has_exceptions = false;
  }
}

[[gnu::always_inline]] inline bool Scheduler::leave(Fiber* fiber, AfterSwitch after) {
  Worker* worker = this_worker();
  Processor* processor = worker->processor;
  worker->after.kind = after.kind;
  worker->after.argument = after.argument;
  publish(fiber->record.switches, fiber->record.switches + 1);
  if (worker->exceptions->caught != nullptr || worker->exceptions->uncaught != 0) {
    fiber->exceptions = *worker->exceptions;
    *worker->exceptions = ExceptionState{};
    fiber->has_exceptions = true;
  }

  Fiber* next = nullptr;
  // A blocking section may have cost this worker its processor: then only the scheduler's own loop can go on.
  if (processor != nullptr) {
    const std::uint32_t tick = ++processor->tick;
    const bool timers_due = tick % kTimerTick == 0 && processor->timers.earliest() != TimerHeap::kNever &&
                            processor->timers.earliest() <= now_ns();
    if (tick % kFairnessTick != 0 && !timers_due) next = processor->queue.pop();
  }
  if (next != nullptr) {
    start_running(worker, next);
    // A fiber that readied itself in the meantime (yield cannot, a claim can) is its own successor only after its
    // registers are saved, which `after` guarantees: next is never `fiber` here.
    sanitizer::leave(fiber->sanitizer, next->sanitizer, after.kind == AfterSwitch::Kind::recycle);
    fiber_switch(&fiber->record.sp, next->record.sp);
  } else {
    worker->current = nullptr;
    publish(worker->record.current_fiber, std::uint64_t{0});
    publish(worker->record.fiber_entry, std::uint64_t{0});
    sanitizer::leave(fiber->sanitizer, worker->sanitizer, after.kind == AfterSwitch::Kind::recycle);
    fiber_switch(&fiber->record.sp, worker->scheduler_context);
  }
  sanitizer::arrived(fiber->sanitizer);
  return finish_switch();
}

[[gnu::always_inline]] inline bool Scheduler::finish_switch() {
  // Field by field, as they were written: a load of both would wait for the two stores (12 cycles).
  Worker* worker = this_worker();
  const AfterSwitch::Kind kind = worker->after.kind;
  if (kind == AfterSwitch::Kind::unlock) [[likely]] {
    unlock_object(*static_cast<LockByte*>(worker->after.argument));
    return false;
  }
  if (kind == AfterSwitch::Kind::requeue) {
    worker->after.kind = AfterSwitch::Kind::nothing;
    worker->processor->queue.push_last(static_cast<Fiber*>(worker->after.argument));
    return true;
  }
  if (kind == AfterSwitch::Kind::nothing) return true;
  worker->after.kind = AfterSwitch::Kind::nothing;
  finish_switch_slow(worker, kind, worker->after.argument);
  return true;
}

}  // namespace fiber::detail
