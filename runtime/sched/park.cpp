// SPDX-License-Identifier: BSD-2-Clause
#include "sched/park.h"

#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/futex.h"
#include "sched/scheduler.h"
#include "sched/switch.h"

namespace fiber::detail {

namespace {

// The one place where a fiber stops; inlined into the two protocols. `after` completes the park once the fiber is off its stack.
[[gnu::always_inline]] inline void park(Reason reason, std::uint64_t resource, AfterSwitch after) {
  Worker* worker = this_worker();
  if (worker->in_blocking) [[unlikely]] {
    fatal("%s inside a blocking section, where a fiber must not park", reason_text(reason));
  }
  Fiber* fiber = worker->current;
  Processor* processor = worker->processor;
  publish(fiber->record.reason, static_cast<std::uint8_t>(reason));
  publish(fiber->record.resource, resource);
  set_state(fiber, FIBERPROF_FIBER_PARKED);
  fiber->parked_since = fiber->record.since;
  publish(processor->record.parks[static_cast<std::size_t>(reason)],
          processor->record.parks[static_cast<std::size_t>(reason)] + 1);
  if (probe::parked(fiber, processor) && after.kind == AfterSwitch::Kind::unlock) {
    after.kind = AfterSwitch::Kind::unlock_probed;
  }
  after.fiber = fiber;
  if (Scheduler::instance().leave(fiber, after)) probe::resumed(this_fiber());
}

// A deadline on a wait; lives on the waiter's stack.
struct WaitTimer : Timer {
  explicit WaitTimer(Claim& claimed) : wait(&claimed) {
    expired = [](Timer& timer) { claim(*static_cast<WaitTimer&>(timer).wait, kTimedOut); };
  }
  Claim* wait;
};

std::uint64_t to_ns(Deadline deadline) {
  const auto since_epoch = deadline.time_since_epoch().count();
  return since_epoch < 0 ? 0 : static_cast<std::uint64_t>(since_epoch);
}

}  // namespace

void park_locked(Reason reason, std::uint64_t resource, SpinWord& lock) {
  park(reason, resource, {AfterSwitch::Kind::unlock, nullptr, &lock});
}

std::uint32_t park_claimed(Reason reason, std::uint64_t resource, Claim& wait, Deadline deadline) {
  static_assert(std::is_same_v<Deadline::duration, std::chrono::nanoseconds>);
  WaitTimer timer(wait);
  const bool timed = deadline != Deadline::max();
  if (wait.fiber == nullptr) {
    std::uint32_t open = Claim::kOpen;
    if (wait.state.compare_exchange_strong(open, Claim::kParked, std::memory_order_acq_rel)) {
      while (wait.state.load(std::memory_order_acquire) == Claim::kParked) {
        const std::uint64_t now = now_ns();
        if (timed && to_ns(deadline) <= now) {
          claim(wait, kTimedOut);
          break;
        }
        futex_wait(wait.state, Claim::kParked, timed ? to_ns(deadline) - now : kForever);
      }
    }
  } else {
    if (timed) {
      timer.when = to_ns(deadline);
      if (timer.when <= now_ns()) {
        claim(wait, kTimedOut);
      } else {
        Scheduler::instance().arm(timer);
      }
    }
    if (!wait.claimed()) park(reason, resource, {AfterSwitch::Kind::commit, nullptr, &wait});
    if (timed) disarm(timer);
  }
  return wait.state.load(std::memory_order_acquire) - Claim::kFirst;
}

bool claim(Claim& wait, std::uint32_t outcome) {
  Fiber* fiber = wait.fiber;
  std::uint32_t state = wait.state.load(std::memory_order_acquire);
  do {
    if (state >= Claim::kFirst) return false;
  } while (!wait.state.compare_exchange_weak(state, Claim::kFirst + outcome, std::memory_order_acq_rel, std::memory_order_acquire));
  if (state == Claim::kParked) {
    if (fiber != nullptr) {
      ready(fiber, outcome == kTimedOut ? ReadyHint::last : ReadyHint::next);
    } else {
      futex_wake(wait.state, 1);
    }
  }
  return true;
}

void ready(Fiber* fiber, ReadyHint hint) {
  probe::woken(fiber);
  set_state(fiber, FIBERPROF_FIBER_RUNNABLE);
  Scheduler::instance().enqueue(fiber, hint);
}

void ready_unprobed(Fiber* fiber) {
  set_state(fiber, FIBERPROF_FIBER_RUNNABLE);
  Scheduler::instance().enqueue(fiber, ReadyHint::next);
}

void fatal(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  const Fiber* fiber = this_fiber();
  if (fiber == nullptr) {
    std::fprintf(stderr, "fiber: fatal: %s (on a thread that is no fiber)\n", text);
  } else if (fiber->record.name[0] != 0) {
    std::fprintf(stderr, "fiber: fatal: %s (fiber %llu \"%s\")\n", text, static_cast<unsigned long long>(fiber->record.id),
                 fiber->record.name);
  } else {
    std::fprintf(stderr, "fiber: fatal: %s (fiber %llu)\n", text, static_cast<unsigned long long>(fiber->record.id));
  }
  std::abort();
}

}  // namespace fiber::detail
