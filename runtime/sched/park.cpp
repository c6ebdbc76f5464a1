// SPDX-License-Identifier: BSD-2-Clause
#include "sched/park.h"

#include <climits>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>

#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/futex.h"
#include "sched/ready.h"
#include "sched/scheduler.h"
#include "sched/seeded.h"
#include "sched/switch.h"
#include "sync/cancellation.h"

namespace fiber::detail {

namespace {

// The one place where a fiber stops; inlined into the two protocols. `after` completes the park once the fiber is off
// its stack.
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
  count_one(processor->record.parks[static_cast<std::size_t>(reason)]);
  if (Scheduler::instance().leave(fiber, after)) probe::resumed(this_fiber(), after.kind == AfterSwitch::Kind::unlock);
}

// A deadline on a wait; lives on the waiter's stack.
struct WaitTimer : Timer {
  WaitTimer(Claim& claimed, std::uint32_t when_due) : wait(&claimed), outcome(when_due) {
    expired = [](Timer& timer) {
      auto& self = static_cast<WaitTimer&>(timer);
      claim(*self.wait, self.outcome);
    };
  }
  Claim* wait;
  std::uint32_t outcome;
};

std::uint64_t to_ns(Deadline deadline) {
  const auto since_epoch = deadline.time_since_epoch().count();
  return since_epoch < 0 ? 0 : static_cast<std::uint64_t>(since_epoch);
}

// How a thread that is no fiber waits.
void sleep_claimed(Claim& wait, Deadline deadline, std::uint32_t when_due) {
  if (!wait.commit()) return;
  // In the kernel's time, whatever happens to the runtime's meanwhile.
  const std::uint64_t start = now_ns(), start_there = timer_now();
  const std::uint64_t due = start + (to_ns(deadline) > start_there ? to_ns(deadline) - start_there : 0);
  while (wait.state.load(std::memory_order_acquire) == Claim::kParked) {
    std::uint64_t left = kForever;
    if (deadline != Deadline::max()) {
      const std::uint64_t now = now_ns();
      if (due <= now) {
        claim(wait, when_due);
        return;
      }
      left = due - now;
    }
    futex_wait(wait.state, Claim::kParked, left);
  }
}

// How a fiber waits with a timer that ends the wait with the outcome `when_due`.
void park_until(Reason reason, std::uint64_t resource, Claim& wait, Deadline deadline, std::uint32_t when_due) {
  static_assert(std::is_same_v<Deadline::duration, std::chrono::nanoseconds>);
  WaitTimer timer(wait, when_due);
  if (deadline != Deadline::max() && !wait.claimed()) {
    timer.when = to_ns(deadline);
    if (timer.when <= timer_now()) {
      claim(wait, when_due);
    } else {
      Scheduler::instance().arm(timer);
    }
  }
  if (!wait.claimed()) park(reason, resource, {AfterSwitch::Kind::commit, &wait});
  disarm(timer);
}

}  // namespace

void park_locked(Reason reason, std::uint64_t resource, LockByte& held) {
  park(reason, resource, {AfterSwitch::Kind::unlock, &held});
}

std::uint32_t park_claimed(Reason reason, std::uint64_t resource, Claim& wait) {
  if (wait.fiber == nullptr) {
    sleep_claimed(wait, Deadline::max(), kTimedOut);
  } else if (!wait.claimed()) {
    park(reason, resource, {AfterSwitch::Kind::commit, &wait});
  }
  return wait.outcome();
}

std::uint32_t park_claimed(Reason reason, std::uint64_t resource, Claim& wait, const Limit& limit) {
  if (limit.none()) return park_claimed(reason, resource, wait);
  ContextCore* context = limit.context();
  Deadline deadline = limit.deadline();
  std::uint32_t when_due = kTimedOut;
  Waiter in_context;
  if (context != nullptr) {
    if (context->deadline <= deadline && context->deadline != Deadline::max()) {
      deadline = context->deadline;
      when_due = kCancelled;
    }
    in_context.fiber = wait.fiber;
    if (wait.fiber == nullptr) in_context.thread = this_thread_id();
    in_context.wait = &wait;
    in_context.outcome = kCancelled;
    if (!context_enqueue(context, in_context)) claim(wait, kCancelled);
  }
  if (wait.fiber == nullptr) {
    sleep_claimed(wait, deadline, when_due);
  } else {
    publish(wait.fiber->record.context, address_of(context));
    publish(wait.fiber->record.deadline, deadline == Deadline::max() ? 0 : to_ns(deadline));
    park_until(reason, resource, wait, deadline, when_due);
    publish(wait.fiber->record.context, std::uint64_t{0});
    publish(wait.fiber->record.deadline, std::uint64_t{0});
  }
  if (context != nullptr) context_dequeue(context, in_context);
  return wait.outcome();
}

bool claim(Claim& wait, std::uint32_t outcome) {
  Fiber* fiber = wait.fiber;
  const Claim::Attempt attempt = wait.attempt(outcome);
  if (attempt == Claim::Attempt::lost) return false;
  if (attempt == Claim::Attempt::won_parked) {
    if (fiber != nullptr) {
      // A timer, a socket or a context may outlive the run its fiber was abandoned in.
      if (fiber->record.state == FIBERPROF_FIBER_DEAD) [[unlikely]]
        return true;
      ready(fiber, outcome >= kCancelled ? ReadyHint::last : ReadyHint::next);
    } else {
      futex_wake(wait.state, 1);
    }
  }
  return true;
}

void ready(Fiber* fiber, ReadyHint hint) {
  set_woken(fiber);
  Scheduler::instance().enqueue(fiber, hint);
}

void fatal(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  std::fprintf(stderr, "fiber: fatal: %s (%s)%s\n", text, describe_actor(this_actor_id()).c_str(), seeded::note());
  std::abort();
}

}  // namespace fiber::detail
