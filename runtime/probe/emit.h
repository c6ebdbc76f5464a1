// SPDX-License-Identifier: BSD-2-Clause
// Everything the runtime says to a profiler goes through these functions, and each has a twin that is nothing
// (FIBER_NO_PROBES), so that the rest of the runtime reads, and can be measured, without them. Unattached, single
// events are a load and a branch not taken; waits and channel operations are less.
#pragma once

#include <fiberprof/probes.h>

#include <bit>
#include <cstdint>

#include "sched/processor.h"

namespace fiber::detail {
struct ChannelCore;
}

#ifndef FIBER_NO_PROBES

namespace fiber::detail::probe {

// --- a wait, from park to resume (runtime/probe/wait.cpp) ------------------------------------------------------------
// Unattached, and for waits that the sampled tier has not drawn, a park and a resume cost nothing: whether anybody is
// attached, and which wait is drawn, is part of the slow scheduling decisions (sched/decision.cpp). A processor
// therefore notices an attachment when it wakes up, or after kTickDecisions decisions.

#define FIBER_NTH(name, nargs, args) kNth_##name,
enum Nth { FIBERPROF_PROBES(FIBER_NTH) };
#undef FIBER_NTH
static_assert(kNth_chan_send == 4 && kNth_lock == 12 && kNth_unlock == 13, "see fiberprof_hot_semaphores");

// Whether decision() has anything to do, or channels_watched() or locks_watched() may be true.
inline bool decisions_watched() { return FIBERPROF_ANY_WAIT_CHANNEL_OR_LOCK_PROBE(); }
// `fiber` is leaving `processor`, perhaps to wait, in the first slow decision after `passed` decisions in all. Returns
// after how many the next has to be slow.
[[gnu::cold, gnu::noinline]] std::uint64_t decision_slow(Fiber* fiber, Processor* processor, std::uint32_t passed);
[[gnu::cold, gnu::noinline]] void resumed_slow(Fiber* fiber, bool of_channel);

// On the waker's stack, before the fiber is in any queue, if there may be something about its wait (closer_look, or a
// tick since it began). `clock`: the coarse one, now.
void woken(Fiber* fiber, std::uint64_t clock);
// On the fiber's own stack, as the last thing of its wait. `of_channel`: also says that a channel operation is
// complete, if that is what it waited for.
inline void resumed(Fiber* fiber, bool of_channel) {
  if (fiber->timing.measured) [[unlikely]]
    resumed_slow(fiber, of_channel);
}

// --- channel operations ----------------------------------------------------------------------------------------------
inline bool channels_watched() { return FIBERPROF_ANY_CHANNEL_PROBE(); }
// Whether every wait has to be seen.
inline bool all_watched() {
  return FIBERPROF_ENABLED(park) || FIBERPROF_ENABLED(unpark) || FIBERPROF_ENABLED(blocked) || channels_watched();
}
// Whether somebody is attached to the sampled waits, and nobody to all of them: two words of memory tell.
inline bool only_sampled() {
  static_assert(kNth_blocked_sampled == 3 && std::endian::native == std::endian::little);
  const std::uint64_t waits = fiberprof_hot_semaphores[0];
  return waits != 0 && waits << 16 == 0 && fiberprof_hot_semaphores[1] == 0;
}
inline std::uint64_t decision(Fiber* fiber, Processor* processor, std::uint32_t passed) {
  if (only_sampled() && processor->draws.passed_quietly(passed))
    return static_cast<std::uint64_t>(processor->draws.left());
  return decision_slow(fiber, processor, passed);
}
inline bool locks_watched() { return FIBERPROF_ENABLED(lock) || FIBERPROF_ENABLED(unlock); }
[[gnu::cold, gnu::noinline]] void channel_done_slow(const ChannelCore* core, bool is_send, bool blocked);
// A channel operation is complete, before whom it made runnable is in any queue. Arguments as in probes.h.
inline void channel_done(const ChannelCore* core, bool is_send, bool blocked) {
  if (channels_watched()) channel_done_slow(core, is_send, blocked);
}

// --- sampling --------------------------------------------------------------------------------------------------------
// Only while this is true the coarse clock ticks every 1 to 5 ms, and processors are sampled.
inline bool anybody_attached() { return FIBERPROF_ANY_WAIT_PROBE() || FIBERPROF_ENABLED(proc_sample); }
// Monitor: the coarse clock is about to become this.
void tick(std::uint64_t ns);
// Monitor, now and then: choose how many waits one event stands for, from how many there were lately on a processor,
// and of long ones on all of them.
void adapt_sampling(Processor* processor, std::uint64_t parks, std::uint64_t interval_ns);
void adapt_long(std::uint32_t processors, std::uint64_t interval_ns);

// --- single events ---------------------------------------------------------------------------------------------------
#define FIBER_EMIT(name, ...)                                        \
  do {                                                               \
    if (FIBERPROF_ENABLED(name)) fiberprof_site_##name(__VA_ARGS__); \
  } while (0)

}  // namespace fiber::detail::probe

#else

namespace fiber::detail::probe {
inline bool decisions_watched() { return false; }
inline std::uint64_t decision(Fiber*, Processor*, std::uint32_t) { return ~std::uint64_t{0}; }
inline void woken(Fiber*, std::uint64_t) {}
inline void resumed(Fiber*, bool) {}
inline bool channels_watched() { return false; }
inline bool locks_watched() { return false; }
inline void channel_done(const ChannelCore*, bool, bool) {}
inline bool anybody_attached() { return false; }
inline void tick(std::uint64_t) {}
inline void adapt_sampling(Processor*, std::uint64_t, std::uint64_t) {}
inline void adapt_long(std::uint32_t, std::uint64_t) {}
#define FIBER_EMIT(name, ...) \
  do {                        \
  } while (0)
}  // namespace fiber::detail::probe

#endif

namespace fiber::detail {
inline std::uint64_t address_of(const void* object) { return reinterpret_cast<std::uint64_t>(object); }
}  // namespace fiber::detail
