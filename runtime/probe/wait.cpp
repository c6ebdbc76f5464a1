// SPDX-License-Identifier: BSD-2-Clause
// The life of a wait as a profiler sees it: park, unpark, blocked (every wait) and blocked_sampled (some, weighted).
//
// Sampled tier. A wait is *drawn* with probability 1/N and then measured with precise clock reads: it stands for N
// waits. The draw is a countdown, with a geometric reload, of the processor's scheduling decisions: each is drawn with
// that probability, so each park is, and one that is no park is nothing. On top, a wait that outlives two ticks of the
// coarse clock, from park to wake-up, is *long* and fires whether drawn or not, weight 1, so rare long waits are never
// missed; the two strata do not overlap. A long wait that was not drawn knows only the tick before its start. With s
// the age of the coarse clock when it parked and r its age at the wake-up, the time since that tick is w + s, and r is
// known: w + s + r - E[s + r] has the wait w as its expectation, also for waits so short that only some phases make
// them long (s + r is symmetric about its mean then). E[s + r] is one tick when ticks come on time; when they come late
// it is E[T^2] / E[T] of the tick times, which the monitor keeps. N is set by the monitor from past rates, never from
// the wait being decided.
#include <algorithm>
#include <cmath>

#include <fiberprof/probes.h>

#include "chan/channel.h"
#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/clock.h"
#include "sched/scheduler.h"

#ifndef FIBER_NO_PROBES

namespace fiber::detail::probe {

namespace {

constexpr std::uint64_t kTickNs = 1'000'000;
// Drawn events per second and processor that the sampled tier aims for: 4,000 events of 2 us are 0.8 % of a core.
constexpr std::uint64_t kDrawnPerSecond = 4'000;

std::atomic<double> tick_span{static_cast<double>(kTickNs)};  // E[T^2] / E[T] of late ticks, ns

// Number of trials up to and including the first success when each has probability 1/N. The countdown keeps the N it
// was drawn with: one that changes before it fires must not change what the wait stands for.
void reload(Sampler& sampler) {
  const std::uint64_t mean = sampler.mean.load(std::memory_order_relaxed);
  sampler.weight = mean;
  sampler.countdown = 1;
  if (mean <= 1) return;
  if (sampler.random == 0) sampler.random = address_of(&sampler) | 1;
  const double uniform = static_cast<double>((next_random(sampler.random) >> 11) + 1) * 0x1p-53;  // in (0, 1]
  sampler.countdown += static_cast<std::int64_t>(std::log(uniform) / std::log1p(-1.0 / static_cast<double>(mean)));
}

// How long a wait took of which only the tick before its start is known; `clock` is the last tick at its end.
std::uint64_t estimated(std::uint64_t parked_since, std::uint64_t clock, std::uint64_t end) {
  const double unbiased = static_cast<double>(end - parked_since) + static_cast<double>(end - std::min(end, clock)) -
                          tick_span.load(std::memory_order_relaxed);
  return static_cast<std::uint64_t>(std::max(unbiased, 0.0));
}

// What the decision that just fell stands for: the weight it was drawn with, or 0.
std::uint64_t draw(Sampler& sampler, std::uint32_t passed) {
  if (sampler.weight == 0) {
    reload(sampler);
    return 0;
  }
  sampler.countdown -= passed;
  if (sampler.countdown > 0) return 0;
  const std::uint64_t weight = sampler.weight;
  reload(sampler);
  return weight;
}

// Whether every wait has to be seen.
bool exact() {
  return FIBERPROF_ENABLED(park) || FIBERPROF_ENABLED(unpark) || FIBERPROF_ENABLED(blocked) || channels_watched();
}

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

std::uint32_t decision_slow(Fiber* fiber, Processor* processor, std::uint32_t passed) {
  Sampler& sampler = processor->sampler;
  std::uint32_t next = ~std::uint32_t{0};
  std::uint64_t weight = 0;
  if (FIBERPROF_ENABLED(blocked_sampled)) {
    weight = draw(sampler, passed);
    next = static_cast<std::uint32_t>(std::min<std::int64_t>(sampler.countdown, next));
  } else {
    sampler.weight = 0;
  }
  const bool all = exact();
  if ((all || weight != 0) && fiber->record.state == FIBERPROF_FIBER_PARKED) parked(fiber, processor, weight);
  return all ? 1 : next;
}

void woken_slow(Fiber* fiber, std::uint64_t clock) {
  if (!FIBERPROF_ANY_WAIT_PROBE()) return;
  WaitTiming& timing = fiber->timing;
  // The same test for drawn and undrawn waits: a late tick must not put a wait into neither.
  if (FIBERPROF_ENABLED(blocked_sampled) && (clock - fiber->parked_since()) / kTickNs >= 2) {
    if (!timing.measured) timing = WaitTiming{};
    timing.measured = timing.is_long = true;
    fiber->closer_look();
  }
  const std::uint64_t waker = id_of(this_fiber());
  if (timing.measured) {
    timing.waker = waker;
    timing.woken_at = now_ns();
    timing.parked_ns = timing.parked_at != 0 ? timing.woken_at - timing.parked_at
                                             : estimated(fiber->parked_since(), clock, timing.woken_at);
  }
  if (FIBERPROF_ENABLED(unpark)) {
    Worker* worker = this_worker();
    const bool local = worker != nullptr && worker->processor != nullptr && !worker->in_blocking;
    fiberprof_site_unpark(fiber->record.id, waker, fiber->record.reason, fiber->record.resource,
                          local ? worker->processor->record.index : kNone,
                          local ? worker->processor->depth() : Scheduler::instance().global_size());
  }
}

void resumed_slow(Fiber* fiber, bool of_channel) {
  const fiberprof_fiber& record = fiber->record;
  const WaitTiming timing = fiber->timing;
  fiber->timing = WaitTiming{};  // before the events: a consumer may attach or detach at any moment
  fiber->quiet_since = record.since;

  const std::uint64_t now = now_ns();
  std::uint64_t parked_ns = timing.parked_ns, queued = now - timing.woken_at;
  if (timing.woken_at == 0) {
    // Woken before it was off its stack, and never made runnable.
    parked_ns = timing.parked_at != 0 ? now - timing.parked_at : 0;
    queued = 0;
  }

  if (FIBERPROF_ENABLED(blocked) && timing.parked_at != 0) {
    fiberprof_site_blocked(record.id, record.reason, record.resource, parked_ns, queued, timing.waker);
  }
  const std::uint64_t weight = timing.is_long ? 1 : timing.weight;
  if (FIBERPROF_ENABLED(blocked_sampled) && weight != 0) {
    fiberprof_site_blocked_sampled(record.id, record.reason, record.resource, parked_ns, queued, timing.waker, weight);
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

void tick(std::uint64_t interval_ns) {
  static double mean = 0, mean_square = 0;  // of the last few dozen; the monitor is the only caller
  const double time = static_cast<double>(interval_ns);
  if (mean == 0) {
    mean = time;
    mean_square = time * time;
  }
  mean += (time - mean) / 64;
  mean_square += (time * time - mean_square) / 64;
  tick_span.store(mean_square / mean, std::memory_order_relaxed);
}

void adapt_sampling(Processor* processor, std::uint64_t parks, std::uint64_t interval_ns) {
  const std::uint64_t per_second = parks * 1'000'000'000u / (interval_ns == 0 ? 1 : interval_ns);
  const std::uint64_t mean = per_second / kDrawnPerSecond;
  processor->sampler.mean.store(mean < 1 ? 1 : mean, std::memory_order_relaxed);
}

}  // namespace fiber::detail::probe

#endif
