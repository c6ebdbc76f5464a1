// SPDX-License-Identifier: BSD-2-Clause
// The life of a wait as a profiler sees it: park, unpark, blocked (every wait); unpark_sampled and blocked_sampled (the
// same of some waits, weighted).
//
// Sampled tier: which waits, with which weight and which value, is in probe/sampling.h, with the reasons. Here is where
// the choices fall: the short stratum's when a fiber leaves, as a slow scheduling decision, the long stratum's when it
// is made runnable, by whoever does that.
#include <algorithm>

#include <fiberprof/probes.h>

#include "chan/channel.h"
#include "probe/emit.h"
#include "probe/sampling.h"
#include "registry/registry.h"
#include "sched/clock.h"
#include "sched/scheduler.h"

#ifndef FIBER_NO_PROBES

namespace fiber::detail::probe {

namespace {

constinit sampling::Marks marks;
constinit sampling::LongDraws long_draws;

// What the wait of `fiber` that ends now stands for if it is long, or 0.
std::uint64_t draw_long(const Fiber* fiber, std::uint64_t clock) {
  thread_local std::uint64_t random = (address_of(&random) ^ now_ns()) | 1;
  return long_draws.draw(clock - std::min(clock - 1, fiber->parked_since), random);
}

std::uint64_t exactly(std::uint64_t parked_ns) { return parked_ns & ~std::uint64_t{FIBERPROF_PARKED_ROUGH}; }

void parked(Fiber* fiber, const Processor* processor, std::uint64_t weight) {
  const fiberprof_fiber& record = fiber->record;
  WaitTiming& timing = fiber->timing;
  timing = WaitTiming{};
  timing.weight = weight;
  timing.measured = true;
  fiber->closer_look();
  FIBER_EMIT(park, record.id, record.reason, record.resource, processor->record.index);
  if (FIBERPROF_ENABLED(blocked) || weight != 0) timing.parked_at = now_ns();
}

}  // namespace

std::uint64_t decision_slow(Fiber* fiber, Processor* processor, std::uint32_t passed) {
  sampling::ShortDraws& draws = processor->draws;
  std::uint64_t next = ~std::uint64_t{0}, weight = 0;
  if (FIBERPROF_ENABLED(blocked_sampled)) {
    weight = draws.passed(passed);
    next = static_cast<std::uint64_t>(draws.left());
  } else {
    draws.stop();
  }
  const bool all = all_watched();
  if ((all || weight != 0) && fiber->record.state == FIBERPROF_FIBER_PARKED) {
    if (weight != 0) draws.count();
    parked(fiber, processor, weight);
  }
  return all ? 1 : next;
}

void woken(Fiber* fiber, std::uint64_t clock) {
  if (!FIBERPROF_ANY_WAIT_PROBE()) return;
  WaitTiming& timing = fiber->timing;
  fiber->parked_since = fiber->since();
  const std::uint64_t now = timing.measured || marks.passed_since(fiber->parked_since) ? now_ns() : 0;
  if (marks.is_long(fiber->parked_since, now)) {
    // The same test for drawn and undrawn waits: none is in both strata, none in neither. And what was under way when
    // somebody attached to every wait is told of, too, unless it ends at once.
    const bool unseen = !timing.measured;
    if (unseen) timing = WaitTiming{};
    if (FIBERPROF_ENABLED(blocked_sampled)) timing.weight = draw_long(fiber, clock);
    if (timing.weight != 0 || (unseen && FIBERPROF_ENABLED(blocked))) timing.measured = true;
  }
  const std::uint64_t waker = id_of(this_fiber());
  if (timing.measured) {
    timing.waker = waker;
    timing.woken_at = now;
    timing.parked_ns =
        timing.parked_at != 0
            ? exactly(timing.woken_at - timing.parked_at)
            : static_cast<std::uint64_t>(marks.value(fiber->parked_since, timing.woken_at)) | FIBERPROF_PARKED_ROUGH;
  }
  const auto unparked = [&](auto* site) {
    const Worker* worker = this_worker();
    const bool local = worker != nullptr && worker->processor != nullptr && !worker->in_blocking;
    site(fiber->record.id, waker, fiber->record.reason, fiber->record.resource,
         local ? worker->processor->record.index : kNone,
         local ? worker->processor->depth() : Scheduler::instance().global_size(), timing.parked_ns);
  };
  if (FIBERPROF_ENABLED(unpark)) unparked(fiberprof_site_unpark);
  if (FIBERPROF_ENABLED(unpark_sampled) && timing.weight != 0) unparked(fiberprof_site_unpark_sampled);
}

void resumed_slow(Fiber* fiber, bool of_channel) {
  const fiberprof_fiber& record = fiber->record;
  const WaitTiming timing = fiber->timing;
  fiber->timing = WaitTiming{};  // before the events: a consumer may attach or detach at any moment

  const std::uint64_t now = now_ns();
  std::uint64_t parked_ns = timing.parked_ns, queued = now - timing.woken_at;
  if (timing.woken_at == 0) {
    // Woken before it was off its stack, and never made runnable.
    parked_ns = timing.parked_at != 0 ? exactly(now - timing.parked_at) : 0;
    queued = 0;
  }

  if (FIBERPROF_ENABLED(blocked) && (timing.parked_at != 0 || timing.woken_at != 0)) {
    // One that was under way when somebody attached: from the tick before its start, so that it is told from those that
    // began later. Whoever attached knows since when it may count.
    const std::uint64_t whole = timing.parked_at != 0 ? parked_ns : timing.woken_at - fiber->parked_since;
    fiberprof_site_blocked(record.id, record.reason, record.resource, whole, queued, timing.waker);
  }
  if (FIBERPROF_ENABLED(blocked_sampled) && timing.weight != 0) {
    fiberprof_site_blocked_sampled(record.id, record.reason, record.resource, parked_ns, queued, timing.waker,
                                   timing.weight);
  }
  if (!of_channel) return;
  const auto reason = static_cast<Reason>(record.reason);
  if (reason != Reason::CHAN_SEND && reason != Reason::CHAN_RECV) return;
  channel_done(reinterpret_cast<const ChannelCore*>(record.resource), reason == Reason::CHAN_SEND, true);
}

void channel_done_slow(const ChannelCore* core, bool is_send, bool blocked) {
  const std::uint64_t self = id_of(this_fiber());
  if (is_send) {
    FIBER_EMIT(chan_send, self, address_of(core), core->length, core->capacity, blocked);
  } else {
    FIBER_EMIT(chan_recv, self, address_of(core), core->length, core->capacity, blocked);
  }
}

void tick(std::uint64_t ns) { marks.tick(ns); }

void adapt_sampling(Processor* processor, std::uint64_t parks, std::uint64_t interval_ns) {
  processor->draws.adapt(parks, interval_ns);
}
void adapt_long(std::uint32_t processors, std::uint64_t interval_ns) { long_draws.adapt(processors, interval_ns); }

}  // namespace fiber::detail::probe

#endif
