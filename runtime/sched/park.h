// SPDX-License-Identifier: BSD-2-Clause
// Park and ready: the only way a fiber stops, and the only way it goes on.
//
// Two protocols, because a waker must never resume a fiber whose registers are not on its stack yet:
//
//   park_locked   the waiter is in some queue under a spin lock, and that lock is handed over to the switch: it is
//                 released when the fiber is off its stack. Whoever finds the waiter in the queue therefore finds it
//                 fully parked. No atomic operation beyond the lock's own. For waits with exactly one way to end.
//
//   park_claimed  for waits that several parties may end (select, a deadline, io): each tries to set the Claim, one
//                 wins. The claim also records whether the fiber is off its stack; if it was won before, the parker's
//                 own commit notices and goes on at once.
//
// A thread that is no fiber can wait too: it sleeps on the claim.
#pragma once

#include <cstdint>

#include "fiber/limit.h"
#include "sched/claim.h"
#include "sched/fiber.h"
#include "sched/object_lock.h"

namespace fiber::detail {

struct Claim : BasicClaim<StdAtomics> {
  Fiber* fiber = nullptr;  // null: a thread

  explicit Claim(Fiber* waiter) : fiber(waiter) {}
};

// Tries to end the wait, as party number `outcome`. True when this call did; then the waiter is being woken. Any
// thread. The claim may be gone as soon as this returns.
bool claim(Claim& wait, std::uint32_t outcome);

// Parks the calling fiber. `held` is that of a lock it has, which is released once the fiber is off its stack.
void park_locked(Reason reason, std::uint64_t resource, LockByte& held);

// Parks until somebody has claimed; returns the outcome.
std::uint32_t park_claimed(Reason reason, std::uint64_t resource, Claim& wait);
// The same, no longer than `limit`: `kTimedOut` when its deadline came first, `kCancelled` when it was its context.
// Neither the timer nor the context touches the claim after the return; of other parties the caller has to make sure.
inline constexpr std::uint32_t kTimedOut = 0xffff, kCancelled = 0xfffe;
std::uint32_t park_claimed(Reason reason, std::uint64_t resource, Claim& wait, const Limit& limit);

inline Status status_of(std::uint32_t outcome) {
  if (outcome == kTimedOut) return Status::timed_out;
  return outcome == kCancelled ? Status::cancelled : Status::done;
}

enum class ReadyHint {
  next,     // run it as soon as this fiber parks: it works on what this fiber has just made
  last,     // behind everybody else: one of many
  spawned,  // has not run yet
};

// Makes a parked fiber runnable. Exactly once per park. Any thread.
void ready(Fiber* fiber, ReadyHint hint = ReadyHint::next);
// Aborts with a message that names the calling fiber. For misuse of the library.
[[noreturn, gnu::format(printf, 1, 2)]] void fatal(const char* format, ...);

}  // namespace fiber::detail
