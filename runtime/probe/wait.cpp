// SPDX-License-Identifier: BSD-2-Clause
// The life of a wait as a profiler sees it: park, unpark, blocked (every wait) and blocked_sampled (some, weighted).
//
// Sampled tier. A wait is *drawn* with probability 1/N, by a countdown with a geometric reload, and then measured with
// precise clock reads: it stands for N waits. On top, a wait that outlives two ticks of the coarse clock is *long* and
// fires whether drawn or not, weight 1, so rare long waits are never missed; the two strata do not overlap. A long
// wait that was not drawn knows only the tick before its start. With s the age of the coarse clock when it parked and r
// its age at the end, the time since that tick is w + s, and r is known: w + s + r - E[s + r] has the wait w as its
// expectation, also for waits so short that only some phases make them long (s + r is symmetric about its mean then).
// E[s + r] is one tick when ticks come on time; when they come late it is E[T^2] / E[T] of the tick times, which the
// monitor keeps. N is set by the monitor from past rates, never from the wait being decided.
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

bool draw(Sampler& sampler, std::uint64_t& weight) {
  if (sampler.weight == 0) reload(sampler);
  if (--sampler.countdown > 0) return false;
  weight = sampler.weight;
  reload(sampler);
  return true;
}

}  // namespace

void parked_slow(Fiber* fiber, Processor* processor) {
  fiberprof_fiber& record = fiber->record;
  WaitTiming& timing = fiber->timing;
  timing = WaitTiming{};
  if (FIBERPROF_ENABLED(blocked_sampled)) draw(processor->sampler, timing.weight);
  FIBER_EMIT(park, record.id, record.reason, record.resource, processor->record.index);
  if (FIBERPROF_ENABLED(blocked) || timing.weight != 0) timing.parked_at = now_ns();
}

void woken_slow(Fiber* fiber) {
  WaitTiming& timing = fiber->timing;
  const std::uint64_t waker = id_of(this_fiber());
  timing.waker = waker;
  if (timing.parked_at != 0) timing.woken_at = now_ns();
  if (FIBERPROF_ENABLED(unpark)) {
    Worker* worker = this_worker();
    const bool local = worker != nullptr && worker->processor != nullptr && !worker->in_blocking;
    fiberprof_site_unpark(fiber->record.id, waker, fiber->record.reason, fiber->record.resource,
                          local ? worker->processor->record.index : kNone,
                          local ? worker->processor->depth() : Scheduler::instance().global_size());
  }
}

void resumed_slow(Fiber* fiber) {
  fiberprof_fiber& record = fiber->record;
  WaitTiming& timing = fiber->timing;
  const std::uint64_t ticks = (coarse_clock() - fiber->parked_since) / kTickNs;
  const std::uint64_t parked_at = timing.parked_at;
  const std::uint64_t weight = timing.weight;
  const bool sampled = FIBERPROF_ENABLED(blocked_sampled);
  if (parked_at == 0 && !(sampled && ticks >= 2)) return;

  const std::uint64_t now = now_ns();
  const std::uint64_t woken_at = timing.woken_at == 0 ? now : timing.woken_at;
  const std::uint64_t queued = now - woken_at;
  timing.parked_at = 0;  // before the events: a consumer may attach or detach at any moment
  timing.woken_at = 0;
  timing.weight = 0;

  if (FIBERPROF_ENABLED(blocked) && parked_at != 0) {
    fiberprof_site_blocked(record.id, record.reason, record.resource, woken_at - parked_at, queued, timing.waker);
  }
  if (!sampled) return;
  if (ticks >= 2) {
    // The same test, on the same clock, for drawn and undrawn waits: a late tick must not put a wait into neither.
    const std::uint64_t since_tick = now - std::min(now, coarse_clock());
    const double unbiased = static_cast<double>(now - fiber->parked_since) + static_cast<double>(since_tick) -
                            tick_span.load(std::memory_order_relaxed);
    const std::uint64_t total = parked_at != 0 ? now - parked_at : static_cast<std::uint64_t>(std::max(unbiased, 0.0));
    fiberprof_site_blocked_sampled(record.id, record.reason, record.resource, total > queued ? total - queued : 0,
                                   queued, timing.waker, 1);
  } else if (weight != 0 && parked_at != 0) {
    fiberprof_site_blocked_sampled(record.id, record.reason, record.resource, woken_at - parked_at, queued,
                                   timing.waker, weight);
  }
}

void channel_done_slow(const ChannelCore* core, bool is_send, bool blocked, Fiber* woken) {
  const std::uint64_t self = id_of(this_fiber());
  if (is_send) {
    FIBER_EMIT(chan_send, self, address_of(core), core->length, core->capacity, blocked);
  } else {
    FIBER_EMIT(chan_recv, self, address_of(core), core->length, core->capacity, blocked);
  }
  if (woken != nullptr && FIBERPROF_ANY_WAIT_PROBE()) woken_slow(woken);
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
