// SPDX-License-Identifier: BSD-2-Clause
// The hot path of every park: pick the next fiber, switch to it, complete the switch. Inlined into park and yield: as
// calls these made up a third of a park's instructions.
#pragma once

#include "registry/registry.h"
#include "sched/scheduler.h"

namespace fiber::detail {

// Counts in a field that only the caller writes but others read: one instruction, where publish() makes three.
inline void count_one(std::uint64_t& field) {
#if defined(__x86_64__) && !FIBER_TSAN
  asm("incq %0" : "+m"(field) : : "cc");
#else
  publish(field, field + 1);
#endif
}

[[gnu::always_inline]] inline void Scheduler::start_running(Worker* worker, Fiber* fiber) {
  Processor* processor = worker->processor;
  worker->current = fiber;
  publish(worker->record.current_fiber, fiber->record.id);
  publish(worker->record.fiber, reinterpret_cast<std::uint64_t>(&fiber->record));
  // Both words at once: they are neighbours, and so they are in `place`.
  static_assert(offsetof(fiberprof_fiber, worker) == offsetof(fiberprof_fiber, processor) + 4 &&
                offsetof(fiberprof_fiber, processor) % 8 == 0);
  __atomic_store_n(reinterpret_cast<AnyWord*>(&fiber->record.processor), worker->place, __ATOMIC_RELAXED);
  count_one(processor->record.switches);
  const std::uint64_t clock = coarse_clock();
  if (fiber->record.since != clock) [[unlikely]]
    start_running_slow(worker, fiber, clock);
  publish_state(fiber, FIBERPROF_FIBER_RUNNING);
}

[[gnu::always_inline]] inline bool Scheduler::leave(Fiber* fiber, AfterSwitch after) {
  Worker* worker = this_worker();
  Processor* processor = worker->processor;
  worker->after.kind = after.kind;
  worker->after.argument = after.argument;
  count_one(fiber->record.switches);
  if (worker->exceptions->caught != nullptr || worker->exceptions->uncaught != 0) {
    fiber->exceptions = *worker->exceptions;
    *worker->exceptions = ExceptionState{};
    fiber->has_exceptions = true;
    fiber->closer_look();
  }

  Fiber* next = nullptr;
  bool go_round = false;
  // A blocking section may have cost this worker its processor: then only the scheduler's own loop can go on.
  if (processor != nullptr) {
    if (--processor->decisions_left == 0) [[unlikely]]
      go_round = decide_slowly(worker, fiber);
    if (!go_round) [[likely]]
      next = processor->queue.pop();
  }
  if (after.kind == AfterSwitch::Kind::nothing) {
    // Who yields is in the queue only from here on: a monitor that looks meanwhile would take a fiber for one that
    // waits there, half of the time if it yields all the time. Nobody else can take it before its registers are saved.
    if (next == nullptr && !go_round)
      next = fiber;
    else
      processor->queue.push_last(fiber);
  }
  if (next != nullptr) {
    start_running(worker, next);
    // Who yields while nobody else is there.
    if (next == fiber) [[unlikely]]
      return true;
    sanitizer::leave(fiber->sanitizer, next->sanitizer, after.kind == AfterSwitch::Kind::recycle);
    fiber_switch(&fiber->record.sp, next->record.sp);
  } else {
    worker->current = nullptr;
    publish(worker->record.current_fiber, std::uint64_t{0});
    publish(worker->record.fiber, std::uint64_t{0});
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
