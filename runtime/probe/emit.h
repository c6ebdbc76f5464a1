// SPDX-License-Identifier: BSD-2-Clause
// Everything the runtime says to a profiler goes through these functions, and each has a twin that is nothing
// (FIBER_NO_PROBES), so that the rest of the runtime reads, and can be measured, without them. Unattached, each is a
// load and a branch not taken.
#pragma once

#include <fiberprof/probes.h>

#include "sched/processor.h"

namespace fiber::detail {
struct ChannelCore;
}

#ifndef FIBER_NO_PROBES

namespace fiber::detail::probe {

// --- a wait, from park to resume (runtime/probe/wait.cpp) ------------------------------------------------------------
[[gnu::cold, gnu::noinline]] void parked_slow(Fiber* fiber, Processor* processor);
[[gnu::cold, gnu::noinline]] void woken_slow(Fiber* fiber);
[[gnu::cold, gnu::noinline]] void resumed_slow(Fiber* fiber);

// The fiber's record already says for what and on what; it is about to leave `processor`.
// Returns whether anybody is attached.
inline bool parked(Fiber* fiber, Processor* processor) {
  if (!FIBERPROF_ANY_WAIT_PROBE()) return false;
  parked_slow(fiber, processor);
  return true;
}
// On the waker's stack, before the fiber is in any queue.
inline void woken(Fiber* fiber) {
  if (FIBERPROF_ANY_WAIT_PROBE()) woken_slow(fiber);
}
// On the fiber's own stack, as the last thing of its wait.
inline void resumed(Fiber* fiber) {
  if (FIBERPROF_ANY_WAIT_PROBE()) resumed_slow(fiber);
}
// A channel operation is complete, before `woken` (may be null), whom it made runnable, is in any queue. The cold part
// of the tests below; arguments as in probes.h.
[[gnu::cold, gnu::noinline]] void channel_done_slow(const ChannelCore* core, bool is_send, bool blocked, Fiber* woken);
inline void channel_done(const ChannelCore* core, bool is_send, Fiber* woken) {
  if (FIBERPROF_ANY_WAIT_OR_CHANNEL_PROBE()) channel_done_slow(core, is_send, false, woken);
}
// The same after a wait.
inline void channel_done_blocked(const ChannelCore* core, bool is_send) {
  if (FIBERPROF_ANY_CHANNEL_PROBE()) channel_done_slow(core, is_send, true, nullptr);
}
// The coarse clock ticks at 1 ms, and processors are sampled, only while this is true.
inline bool anybody_attached() { return FIBERPROF_ANY_WAIT_PROBE() || FIBERPROF_ENABLED(proc_sample); }
// Monitor: a tick of the coarse clock came this long after the one before. Only while somebody is attached.
void tick(std::uint64_t interval_ns);
// Monitor: choose how many waits one drawn event stands for, from how many there were lately.
void adapt_sampling(Processor* processor, std::uint64_t parks, std::uint64_t interval_ns);

// --- single events ---------------------------------------------------------------------------------------------------
#define FIBER_EMIT(name, ...)                                        \
  do {                                                               \
    if (FIBERPROF_ENABLED(name)) fiberprof_site_##name(__VA_ARGS__); \
  } while (0)

}  // namespace fiber::detail::probe

#else

namespace fiber::detail::probe {
inline bool parked(Fiber*, Processor*) { return false; }
inline void woken(Fiber*) {}
inline void resumed(Fiber*) {}
inline void channel_done(const ChannelCore*, bool, Fiber*) {}
inline void channel_done_blocked(const ChannelCore*, bool) {}
inline bool anybody_attached() { return false; }
inline void tick(std::uint64_t) {}
inline void adapt_sampling(Processor*, std::uint64_t, std::uint64_t) {}
#define FIBER_EMIT(name, ...) \
  do {                        \
  } while (0)
}  // namespace fiber::detail::probe

#endif

namespace fiber::detail {
inline std::uint64_t address_of(const void* object) { return reinterpret_cast<std::uint64_t>(object); }
}  // namespace fiber::detail
