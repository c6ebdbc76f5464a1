// SPDX-License-Identifier: BSD-2-Clause
// The rare parts of scheduling decisions (sched/switch.h has the rest): every few decisions something besides the next
// fiber is due, and some fibers need more than to be switched to. Neither costs the others an instruction: the first
// are counted down together, the second show in a word that is compared anyway.
#include <algorithm>

#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/ready.h"
#include "sched/scheduler.h"
#include "sched/seeded.h"

namespace fiber::detail {

namespace {

bool timers_due(const Processor* processor) {
  return processor->timers.earliest() != TimerHeap::kNever && processor->timers.earliest() <= now_ns();
}

}  // namespace

// `fiber` is leaving. True: to the worker's own loop, whoever is next in the queue.
[[gnu::noinline]] bool Scheduler::decide_slowly(Worker* worker, Fiber* fiber) {
  Processor* processor = worker->processor;
  const std::uint32_t passed = processor->decisions_step;
  bool go_round = seeded::on();
  const bool watched = probe::decisions_watched();
  processor->until_tick -= passed;
  if (processor->until_tick == 0) {
    processor->until_tick = kTickDecisions;
    if (++processor->ticks % kRoundTicks == 0) {
      processor->round_due = go_round = true;
    } else {
      go_round |= timers_due(processor);
    }
    if (worker->local != nullptr) worker->bias = watched ? bias_of(processor) : bias_unwatched(processor);
  }
  std::uint64_t left = processor->until_tick;
  if (watched) [[unlikely]]
    left = std::min(left, probe::decision(fiber, processor, passed));
  processor->decisions_left = processor->decisions_step = seeded::on() ? 1 : static_cast<std::uint32_t>(left);
  return go_round;
}

// `fiber` is about to run, and its wait took more than a moment, or there is something else about it.
[[gnu::noinline]] void Scheduler::start_running_slow(Worker* worker, Fiber* fiber, std::uint64_t clock) {
  if (fiber->has_exceptions) {
    *worker->exceptions = fiber->exceptions;
    fiber->has_exceptions = false;
  }
  if (fiber->timing.measured && worker->after.kind == AfterSwitch::Kind::unlock)
    worker->after.kind = AfterSwitch::Kind::unlock_probed;
  publish(fiber->record.since, clock);
}

void set_woken_slow(Fiber* fiber, std::uint64_t clock) {
  const bool has_more = fiber->looked_at_closely();
  probe::woken(fiber, clock);
  publish(fiber->record.since, clock);
  if (has_more || fiber->timing.measured) fiber->closer_look();
}

}  // namespace fiber::detail
