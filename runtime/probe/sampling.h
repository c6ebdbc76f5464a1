// SPDX-License-Identifier: BSD-2-Clause
// The arithmetic of the sampled tier: which waits are measured, how many each stands for, and how long a wait took
// whose beginning nobody looked at. It reads no clock and knows no fiber: wait.cpp feeds it with the real ones, the
// tests with theirs (tests/sampling).
//
// What must hold: the expected sum of weight * value is the sum of all waits, whatever the waits are. So every weight
// is one over the probability of being chosen, and that probability is set by what happened before the choice: by
// earlier waits, by earlier choices, by the clock. Of the wait being decided it may know the length, never the choice.
//
//   short   Every scheduling decision is drawn with probability 1/N: a countdown with a geometric reload, which for
//           every decision is an independent trial. A drawn wait is timed with precise clocks and weighs N.
//   long    A wait that goes on for C = 1 ms or more after a mark of the coarse clock is measured whether drawn or not,
//           so that no rare one is missed. It weighs 1, or, when there are more of them than the budget allows, k with
//           probability 1/k. It is never short, too, though it may have been drawn.
//
// The value of a long wait. It is known in which interval between marks it began, not where. Let that interval end at 0
// and last T, and let the wait begin at p, which is uniform in [-T, 0), and end at q = p + w. It is long exactly if
// q >= C. Sought: f(q) such that q - f(q) is w on average, over all p for which it is long; that is, for every w,
//     integral of p over [max(-T, C - w), 0)  =  integral of f over [max(w - T, C), w).
// Derived by w: f(w) = -(w - C) as long as w < C + T, and f(w) = f(w - T) from there on. Hence
//     f(q) = -((q - C) mod T),      value = q + ((q - C) mod T),
// which is never negative. It needs the times of two marks, and nothing of them but that they came without regard to
// the wait: they may be late and uneven as they like. (An average instead of these very marks is unbiased only if they
// are even; the plain difference of coarse clocks, on waits of one to two marks, never.) The error of one value is at
// most T, and its variance T^2 / 6 on average over w.
//
// Any C would do. The smaller it is, the more waits are measured; the larger, the fewer are weighed N: what a wait of w
// adds to the variance as a short one is (N - 1) w^2 (C + T - w) / T, if w is between C and C + T. At most that is
// (N - 1) 4/27 (C + T)^3 / T.
//
// How exact a sum is. All choices are independent given what was before them, so the variance that they add to
// sum(weight * value) is the sum of (weight - 1) * value^2 over all waits, of which the sum of
// weight * (weight - 1) * value^2 over the chosen ones is again an unbiased estimate.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>

namespace fiber::detail::sampling {

// xorshift64; `state` is not 0.
inline std::uint64_t next(std::uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

// The number of the first success among independent trials, each with probability 1/mean.
inline std::int64_t geometric(std::uint64_t mean, std::uint64_t& random) {
  if (mean <= 1) return 1;
  const double uniform = static_cast<double>((next(random) >> 11) + 1) * 0x1p-53;  // in (0, 1]
  return 1 + static_cast<std::int64_t>(std::log(uniform) / std::log1p(-1.0 / static_cast<double>(mean)));
}

// What is drawn and fires within one period, for each processor and stratum, before either gets rarer: with a period of
// 50 ms 4,000 events a second. At 1 to 2 us each both together are 1.2 % of a core.
inline constexpr std::uint32_t kBudget = 200;
inline constexpr std::uint64_t kPeriodNs = 50'000'000;

// Within a period each further kBudget events halve the probability of those to come: a burst that no earlier period
// announced costs a few budgets, not thousands.
inline std::uint64_t thinned(std::uint64_t weight, std::uint64_t events) {
  return weight << std::min<std::uint64_t>(events / kBudget, 10);
}

// Draws of one processor. Its worker calls all but adapt(), which is the monitor's.
class ShortDraws {
 public:
  // As passed(), if that would return 0 and change nothing but the countdown; false: it has to be called.
  bool passed_quietly(std::uint32_t decisions) {
    if (countdown_ <= decisions || period_.load(std::memory_order_relaxed) != quiet_period_) return false;
    countdown_ -= decisions;
    return true;
  }
  // `decisions` have been made since the last call; what the last of them stands for, or 0. None before it was drawn.
  std::uint64_t passed(std::uint32_t decisions) {
    const std::uint32_t period = period_.load(std::memory_order_relaxed);
    if (period != seen_period_) {
      seen_period_ = period;
      events_ = 0;
    }
    const std::uint64_t mean = thinned(mean_.load(std::memory_order_relaxed), events_);
    quiet_period_ = period;
    countdown_ -= decisions;
    const std::uint64_t weight = countdown_ > 0 ? 0 : weight_;
    // A geometric distribution has no memory, so the rest of a countdown may be drawn anew with another mean.
    if (weight != 0 || weight_ != mean) {
      if (random_ == 0) random_ = reinterpret_cast<std::uintptr_t>(this) | 1;
      weight_ = mean;
      countdown_ = geometric(mean, random_);
    }
    return weight;
  }
  // The decision drawn last was a wait, and is measured.
  void count() {
    ++events_;
    quiet_period_ = seen_period_ - 1;
  }
  // After how many decisions to call again, at the latest.
  std::int64_t left() const { return countdown_; }
  // What the next decision stands for if it is drawn.
  std::uint64_t weight() const { return weight_; }
  // Nobody watches: the next call draws nothing.
  void stop() {
    weight_ = 0;
    countdown_ = 0;
  }

  // A period has ended, with so many waits: what the next draws stand for. Comes down slowly, for what was idle once
  // may be idle every other period.
  void adapt(std::uint64_t waits, std::uint64_t period_ns) {
    const double most = static_cast<double>(kBudget) * static_cast<double>(period_ns) / static_cast<double>(kPeriodNs);
    const auto wanted = static_cast<std::uint64_t>(static_cast<double>(waits) / std::max(most, 1.0));
    const std::uint64_t least = mean_.load(std::memory_order_relaxed) * 3 / 4;
    mean_.store(std::max<std::uint64_t>({wanted, least, 1}), std::memory_order_relaxed);
    period_.fetch_add(1, std::memory_order_relaxed);
  }

  void reset() {
    stop();
    events_ = 0;
    mean_.store(1, std::memory_order_relaxed);
  }
  void seed(std::uint64_t seed) { random_ = seed | 1; }

 private:
  std::int64_t countdown_ = 0;  // decisions until the next draw
  std::uint64_t weight_ = 0;    // the mean it was drawn with; 0: none drawn
  std::uint64_t random_ = 0;
  std::uint64_t events_ = 0;  // of this period
  std::uint32_t seen_period_ = 0;
  std::uint32_t quiet_period_ = 0;  // while that is this one, the mean is what it was in the last call of passed()
  std::atomic<std::uint32_t> period_{0};
  std::atomic<std::uint64_t> mean_{1};  // N
};

// The long waits of all processors. Any thread calls draw(), the monitor adapt().
class LongDraws {
 public:
  // What a wait of about `coarse_ns`, which is not 0, stands for, or 0.
  std::uint64_t draw(std::uint64_t coarse_ns, std::uint64_t& random) {
    const std::uint64_t weight = odds(coarse_ns);
    if (weight != 1 && static_cast<unsigned __int128>(next(random)) * weight >> 64 != 0) return 0;
    events_.fetch_add(1, std::memory_order_relaxed);
    waits_.fetch_add(weight, std::memory_order_relaxed);
    time_.fetch_add(weight * (coarse_ns >> kTimeShift), std::memory_order_relaxed);
    return weight;
  }
  // One over the probability that it is drawn, as things are.
  std::uint64_t odds(std::uint64_t coarse_ns) const {
    const std::uint64_t events = events_.load(std::memory_order_relaxed);
    const std::uint64_t processors = processors_.load(std::memory_order_relaxed);
    std::uint64_t bar = bar_.load(std::memory_order_relaxed);
    if (events >= kBudget * processors) bar = thinned(std::max(bar, kLeastBar), events / processors);
    return coarse_ns >= bar ? 1 : (bar + coarse_ns - 1) / coarse_ns;
  }

  // A period has ended. Up to the budget all are drawn; beyond it, one event for so much time waited.
  void adapt(std::uint32_t processors, std::uint64_t period_ns) {
    processors_.store(processors, std::memory_order_relaxed);
    const std::uint64_t waits = waits_.exchange(0, std::memory_order_relaxed);
    const std::uint64_t time = time_.exchange(0, std::memory_order_relaxed) << kTimeShift;
    events_.store(0, std::memory_order_relaxed);
    const double most =
        static_cast<double>(kBudget) * processors * static_cast<double>(period_ns) / static_cast<double>(kPeriodNs);
    std::uint64_t wanted = 0;
    if (static_cast<double>(waits) > most) wanted = static_cast<std::uint64_t>(static_cast<double>(time) / most);
    std::uint64_t least = bar_.load(std::memory_order_relaxed) * 3 / 4;
    if (least < kLeastBar) least = 0;
    bar_.store(std::clamp<std::uint64_t>(wanted, least, kMostBar), std::memory_order_relaxed);
  }

 private:
  static constexpr std::uint64_t kLeastBar = 2'000'000, kMostBar = 1ull << 52;
  static constexpr int kTimeShift = 10;  // a million fibers that waited an hour each do not overflow

  std::atomic<std::uint64_t> bar_{0};  // shorter waits are drawn with probability wait / bar
  std::atomic<std::uint64_t> processors_{1};
  // of this period, from those drawn: how many were drawn, and estimates of what there was
  std::atomic<std::uint64_t> events_{0}, waits_{0}, time_{0};
};

// The marks: ticks of the coarse clock, but for those that come closer together than kLeast. One thread adds them.
class Marks {
 public:
  // The coarse clock is about to become `ns`.
  void tick(std::uint64_t ns) {
    const auto interval = static_cast<double>(std::min<std::uint64_t>(ns - tick_, 1'000'000'000));
    tick_ = ns;
    square_ += (interval * interval - square_) / 64;
    mean_ += (interval - mean_) / 64;
    mean_age_.store(square_ / (2 * mean_), std::memory_order_relaxed);
    const std::uint64_t newest = newest_.load(std::memory_order_relaxed);
    if (ns < newest + kLeast) return;
    const std::uint64_t count = count_.load(std::memory_order_relaxed);
    times_[count % kKept].store(ns, std::memory_order_relaxed);
    count_.store(count + 1, std::memory_order_release);
    previous_.store(newest, std::memory_order_relaxed);
    newest_.store(ns, std::memory_order_relaxed);
  }

  // Whether a mark has come since the coarse clock was `since`: what ends now may be long.
  bool passed_since(std::uint64_t since) const { return since < newest_.load(std::memory_order_relaxed); }
  // Whether a wait is long that began when the coarse clock was `since` and ended at `end`.
  bool is_long(std::uint64_t since, std::uint64_t end) const {
    const std::uint64_t newest = newest_.load(std::memory_order_relaxed);
    if (since >= newest) return false;
    const std::uint64_t previous = previous_.load(std::memory_order_relaxed);
    if (since >= previous) return end >= newest + kLong;
    return end >= previous + kLong || end >= interval_of(since).end + kLong;
  }

  // How long a wait took that began when the coarse clock was `since`, is_long(), and ended at `end`.
  double value(std::uint64_t since, std::uint64_t end) const {
    const Interval begun = interval_of(since);
    if (begun.start == 0 || begun.end <= begun.start || end < begun.end + kLong) {
      // So long ago that it hardly matters: as if it had begun when the coarse clock had its mean age.
      const double age = mean_age_.load(std::memory_order_relaxed);
      return std::max(static_cast<double>(end) - static_cast<double>(since) - age, 0.0);
    }
    const std::uint64_t after = end - begun.end;
    return static_cast<double>(after) + static_cast<double>((after - kLong) % (begun.end - begun.start));
  }

  static constexpr std::uint64_t kLong = 1'000'000;

 private:
  static constexpr std::uint64_t kLeast = 600'000;
  static constexpr std::uint64_t kKept = 1024;

  // Between the last mark up to some time, 0 if that is no longer known, and the first after it.
  struct Interval {
    std::uint64_t start, end;
  };
  Interval interval_of(std::uint64_t ns) const {
    const std::uint64_t count = count_.load(std::memory_order_acquire);
    // Among those that will not be overwritten meanwhile.
    std::uint64_t low = count - std::min<std::uint64_t>(count, kKept - 64), high = count;
    const auto at = [this](std::uint64_t index) { return times_[index % kKept].load(std::memory_order_relaxed); };
    const std::uint64_t oldest = low;
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      if (at(middle) <= ns)
        low = middle + 1;
      else
        high = middle;
    }
    return {low == oldest ? 0 : at(low - 1), low == count ? ns : at(low)};
  }

  std::atomic<std::uint64_t> newest_{0}, previous_{0};
  std::atomic<std::uint64_t> count_{0};
  std::atomic<std::uint64_t> times_[kKept]{};
  std::uint64_t tick_ = 0;
  double mean_ = 1e6, square_ = 1e12;  // time between ticks, and its square: of the last few dozen
  std::atomic<double> mean_age_{0.5e6};
};

}  // namespace fiber::detail::sampling
