// SPDX-License-Identifier: BSD-2-Clause
// One fiber: its public record first, then what only the runtime needs.
#pragma once

#include <cstdint>

#include <fiberprof/registry.h>

#include "context/context.h"
#include "context/sanitizer.h"
#include "fiber/fiber.h"
#include "stack/stack_pool.h"

namespace fiber::detail {

enum class Reason : std::uint8_t {
#define FIBER_REASON(value, name, text) name = value,
  FIBERPROF_REASONS(FIBER_REASON)
#undef FIBER_REASON
};
const char* reason_text(Reason reason);

// How the wait in progress is being measured; written by runtime/probe only, while something is attached.
struct WaitTiming {
  std::uint64_t parked_at = 0;  // CLOCK_MONOTONIC ns; 0: not measured precisely
  std::uint64_t woken_at = 0;
  std::uint64_t parked_ns = 0;  // from park to wake-up, known or estimated; once woken
  std::uint64_t waker = 0;
  std::uint64_t weight = 0;  // sampled tier: how many waits this one stands for; 0: not drawn
  bool measured = false;     // something is to be said when it ends
};

// The two words of the C++ ABI's per-thread exception state. A fiber that parks inside a catch block takes them along.
struct ExceptionState {
  void* caught = nullptr;
  unsigned uncaught = 0;
};

// Type-stable: slots live in slabs that are never freed, so a stale pointer reads an old fiber, never garbage.
struct alignas(64) Fiber {
  fiberprof_fiber record{};  // first: a registry slot is a Fiber
  Fiber* next = nullptr;     // link of whichever list it is on: free list, global queue, a batch to be readied
  Body body = nullptr;
  void* closure = nullptr;
  Stack stack;
  [[no_unique_address]] SanitizerStack sanitizer;
  ExceptionState exceptions;
  bool has_exceptions = false;
  std::uint8_t blocking_depth = 0;
  struct Locals* locals = nullptr;  // null: none made yet
  // Who makes a fiber runnable or lets it run does no more than that if the coarse clock still shows the time of its
  // last change of state: one test covers all that is rare, for a time of the coarse clock is even, and here it is made
  // odd if there is something to do before the fiber runs again.
  void closer_look() { __atomic_store_n(&record.since, record.since | 1, __ATOMIC_RELAXED); }
  bool looked_at_closely() const { return (record.since & 1) != 0; }
  std::uint64_t since() const { return record.since & ~std::uint64_t{1}; }

  WaitTiming timing;
  std::uint64_t queued = 0;        // while in a backlog: since about when, CLOCK_MONOTONIC ns
  std::uint64_t parked_since = 0;  // coarse clock when the wait began that has just ended; set while somebody listens
};

inline std::uint64_t id_of(const Fiber* fiber) { return fiber == nullptr ? 0 : fiber->record.id; }

// Eight bytes of a record, whatever they are.
using AnyWord = std::uint64_t __attribute__((may_alias));

// The registry's fields are read by other processes and threads while they are written.
template <class T>
void publish(T& field, T value) {
  __atomic_store_n(&field, value, __ATOMIC_RELAXED);
}

}  // namespace fiber::detail
