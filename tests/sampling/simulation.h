// SPDX-License-Identifier: BSD-2-Clause
// A processor's waits in simulated time, sampled by the code that the runtime uses (probe/sampling.h), and all of them
// beside it. What a test breaks on purpose it passes as Faults.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <vector>

#include "probe/sampling.h"

namespace sampling_test {

namespace sampling = fiber::detail::sampling;

struct Faults {
  bool value_by_ticks = false;     // a long wait's value is the difference of coarse clocks
  bool value_by_mean = false;      // ... is that from its mean beginning: d - 1/2 tick
  bool weight_when_fired = false;  // a draw weighs what N is when it falls, not what it was drawn with
  bool both_strata = false;        // what was drawn and is long counts twice
  bool unweighted_long = false;    // long waits beyond the budget are dropped, those drawn still weigh 1
};

// How the coarse clock ticks: the time from each tick to the next, in ns.
using Ticks = std::function<double(std::mt19937_64&)>;
inline double even_ticks(std::mt19937_64&) { return 1e6; }
// As a timer with slack on a machine with other work.
inline double late_ticks(std::mt19937_64& random) {
  std::exponential_distribution<double> slack(1 / 2e5);
  double time = 1e6 + slack(random);
  if (random() % 20 == 0) time += 1e6 * std::uniform_real_distribution<double>(0, 12)(random);
  return time;
}
// Where wake-ups are dear.
inline double slow_ticks(std::mt19937_64& random) { return 6e6 + static_cast<double>(random() % 4'000'000); }
// Where they are dear at times.
inline double uneven_ticks(std::mt19937_64& random) { return slow_ticks(random) / (1 << random() % 4); }
// While blocking sections run, the monitor ticks more often than the tier wants.
inline double dense_ticks(std::mt19937_64& random) { return 2e4 + static_cast<double>(random() % 10'000); }

// Sums over the waits of one kind ("stack"), in ns.
struct Sums {
  double truth = 0, estimate = 0;
  double waits = 0, estimated_waits = 0;
  double variance = 0;            // of `estimate`, from all waits
  double choice_variance = 0;     // the part of it that choosing makes
  double estimated_variance = 0;  // an estimate of that from those chosen: what a recording has
  double largest = 0;             // the largest amount that one choice can add
  std::uint64_t events = 0;
};

class Simulation {
 public:
  Simulation(std::uint64_t seed, Ticks ticks, std::uint32_t processors = 1, Faults faults = {})
      : ticks_(std::move(ticks)), faults_(faults), random_(seed), draw_random_(seed * 77 + 1), draws_(processors) {
    for (auto& each : draws_) each = std::make_unique<sampling::ShortDraws>(), each->seed(seed + 1000 + draws_.size());
    next_tick_ = ticks_(random_);
    for (int i = 0; i < 8; ++i) tick();
  }

  double now() const { return now_; }
  std::mt19937_64& random() { return random_; }

  // A fiber parks now, for `ns`; its wait is of kind `kind`.
  void park(int kind, double ns, std::size_t processor = 0) {
    Wait wait{now_ + ns, now_, clock_, kind, 0, 0};
    sampling::ShortDraws& draws = *draws_[processor];
    ++parks_;
    wait.odds = draws.weight();  // 0: it is the first, and will not be drawn
    wait.drawn = draws.passed(1);
    if (faults_.weight_when_fired) {
      wait.drawn = 0;
      if (--stale_countdown_ <= 0) {
        wait.drawn = draws.weight();
        stale_countdown_ = sampling::geometric(wait.drawn, draw_random_);
      }
    }
    if (wait.drawn != 0) draws.count();
    waits_.push(wait);
  }
  // A decision that is no wait.
  void yield(std::size_t processor = 0) { draws_[processor]->passed(1); }

  // Time goes on, waits that are over by then end.
  void advance(double ns) {
    const double until = now_ + ns;
    while (true) {
      const double next_end = waits_.empty() ? 1e300 : waits_.top().end;
      if (std::min(next_end, next_tick_) > until) break;
      if (next_tick_ <= next_end) {
        now_ = next_tick_;
        tick();
      } else {
        const Wait wait = waits_.top();
        waits_.pop();
        now_ = wait.end;
        end(wait);
      }
    }
    now_ = until;
  }
  // Until nobody waits any more.
  void finish() {
    while (!waits_.empty()) advance(waits_.top().end - now_);
  }

  const std::map<int, Sums>& kinds() const { return kinds_; }
  Sums total() const {
    Sums sum;
    for (const auto& [kind, each] : kinds_) {
      sum.truth += each.truth;
      sum.estimate += each.estimate;
      sum.waits += each.waits;
      sum.estimated_waits += each.estimated_waits;
      sum.variance += each.variance;
      sum.choice_variance += each.choice_variance;
      sum.estimated_variance += each.estimated_variance;
      sum.largest = std::max(sum.largest, each.largest);
      sum.events += each.events;
    }
    return sum;
  }
  // The most events that any period of 50 ms had.
  std::uint64_t most_events() const { return std::max(most_events_, events_); }

 private:
  struct Wait {
    double end, begin;
    std::uint64_t since;  // the coarse clock at its begin
    int kind;
    std::uint64_t drawn, odds;  // short stratum: what it stands for; one over the probability of that
    bool operator<(const Wait& other) const { return end > other.end; }
  };

  static constexpr std::uint64_t kOrigin = 1'000'000'000;  // no time is 0
  static std::uint64_t ns_of(double time) { return kOrigin + static_cast<std::uint64_t>(time); }

  void tick() {
    now_ = next_tick_;
    const double interval = ticks_(random_);
    next_tick_ = now_ + interval;
    marks_.tick(ns_of(now_));
    clock_ = ns_of(now_);
    if (now_ - last_adapt_ < static_cast<double>(sampling::kPeriodNs)) return;
    const auto period = static_cast<std::uint64_t>(now_ - last_adapt_);
    for (auto& draws : draws_) draws->adapt(parks_ / draws_.size(), period);
    long_draws_.adapt(static_cast<std::uint32_t>(draws_.size()), period);
    parks_ = 0;
    last_adapt_ = now_;
    most_events_ = std::max(most_events_, events_);
    events_ = 0;
  }

  void end(const Wait& wait) {
    Sums& sums = kinds_[wait.kind];
    const double length = wait.end - wait.begin;
    sums.truth += length;
    sums.waits += 1;
    double weight = 0, value = length, odds = 0;
    const std::uint64_t at = ns_of(wait.end);
    if (marks_.is_long(wait.since, at)) {
      const std::uint64_t coarse = clock_ - wait.since;
      odds = static_cast<double>(long_draws_.odds(coarse));
      weight = static_cast<double>(long_draws_.draw(coarse, draw_random_));
      if (faults_.unweighted_long) weight = std::min(weight, 1.0);
      if (wait.drawn == 0) {
        value = marks_.value(wait.since, at);
        if (faults_.value_by_ticks) value = static_cast<double>(clock_ - wait.since);
        if (faults_.value_by_mean) value = static_cast<double>(at - wait.since) - 5e5;
      }
      if (faults_.both_strata) weight += static_cast<double>(wait.drawn);
    } else {
      odds = static_cast<double>(std::max<std::uint64_t>(wait.odds, 1));
      weight = static_cast<double>(wait.drawn);
    }
    // The choice, and where in its interval a wait that was not drawn began.
    sums.choice_variance += (odds - 1) * value * value;
    sums.variance += (odds - 1) * value * value + (value - length) * (value - length);
    sums.largest = std::max(sums.largest, odds * value);
    if (weight == 0) return;
    sums.estimate += weight * value;
    sums.estimated_waits += weight;
    sums.estimated_variance += weight * (weight - 1) * value * value;
    ++sums.events;
    ++events_;
  }

  Ticks ticks_;
  Faults faults_;
  std::mt19937_64 random_;
  std::uint64_t draw_random_;
  std::vector<std::unique_ptr<sampling::ShortDraws>> draws_;
  sampling::LongDraws long_draws_;
  sampling::Marks marks_;
  std::priority_queue<Wait> waits_;
  std::map<int, Sums> kinds_;
  double now_ = 0, next_tick_ = 0, last_adapt_ = 0;
  std::int64_t stale_countdown_ = 0;
  std::uint64_t clock_ = 0, parks_ = 0, events_ = 0, most_events_ = 0;
};

}  // namespace sampling_test
