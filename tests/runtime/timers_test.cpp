// SPDX-License-Identifier: BSD-2-Clause
// Timers: the heap against a sorted map under a simulated clock, and the heaps of all processors under real time.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <thread>
#include <vector>

#include "sched/scheduler.h"
#include "time/timers.h"

using namespace std::chrono_literals;
using namespace fiber::detail;

namespace {

// Remembers that it has expired, in which order.
struct SimulatedTimer : Timer {
  std::vector<SimulatedTimer*>* fired = nullptr;
  SimulatedTimer() {
    expired = [](Timer& timer) {
      auto& self = static_cast<SimulatedTimer&>(timer);
      self.fired->push_back(&self);
    };
  }
};

// A heap and, beside it, what it should hold.
class SimulatedClock {
 public:
  explicit SimulatedClock(std::uint64_t seed) : random_(seed) {
    for (SimulatedTimer& timer : timers_) {
      timer.fired = &fired_;
      idle_.push_back(&timer);
    }
  }

  void step() {
    const std::uint64_t what = random_() % 100;
    if (what < 50) {
      if (!idle_.empty()) arm();
    } else if (what < 85) {
      if (!model_.empty()) disarm_one();
    } else {
      // Mostly a little further, at times far; at times not at all.
      fire(random_() % 50 == 0 ? random_() % 5000 : random_() % 12);
    }
    ASSERT_EQ(heap_.earliest(), model_.empty() ? TimerHeap::kNever : model_.begin()->first);
  }

  // The armed timers' own positions are those of a heap: each taken once, and no timer before its parent.
  void check_positions() {
    std::vector<const Timer*> by_position(model_.size());
    for (const auto& [when, timer] : model_) {
      ASSERT_LT(timer->position, by_position.size());
      ASSERT_EQ(by_position[timer->position], nullptr);
      by_position[timer->position] = timer;
    }
    for (std::size_t i = 1; i < by_position.size(); ++i)
      ASSERT_LE(by_position[(i - 1) / 4]->when, by_position[i]->when);
    for (const SimulatedTimer* timer : idle_) ASSERT_EQ(timer->position, Timer::kUnarmed);
  }

  std::uint64_t fired_in_all() const { return fired_in_all_; }
  std::size_t most_armed() const { return most_armed_; }

 private:
  void arm() {
    const std::size_t index = random_() % idle_.size();
    SimulatedTimer* timer = idle_[index];
    idle_[index] = idle_.back();
    idle_.pop_back();
    // Few distinct times, so that many are equal; some are due already.
    timer->when = now_ + random_() % (random_() % 10 == 0 ? 100'000 : 3'000);
    const bool earliest = model_.empty() || timer->when < model_.begin()->first;
    ASSERT_EQ(heap_.arm(*timer), earliest);
    model_.emplace(timer->when, timer);
    most_armed_ = std::max(most_armed_, model_.size());
  }

  void disarm_one() {
    auto victim = model_.lower_bound(now_ + random_() % 4'000);
    if (victim == model_.end()) victim = model_.begin();
    SimulatedTimer* timer = victim->second;
    model_.erase(victim);
    ASSERT_TRUE(disarm(*timer));
    ASSERT_FALSE(disarm(*timer));
    idle_.push_back(timer);
  }

  void fire(std::uint64_t time) {
    now_ += time;
    fired_.clear();
    const auto end = model_.upper_bound(now_);
    ASSERT_EQ(heap_.fire(now_), end != model_.begin());
    // In order, nothing early, and (the count) everything that was due.
    ASSERT_EQ(fired_.size(), static_cast<std::size_t>(std::distance(model_.begin(), end)));
    auto expected = model_.begin();
    for (SimulatedTimer* timer : fired_) {
      ASSERT_EQ(timer->when, expected->first);
      ASSERT_LE(timer->when, now_);
      ASSERT_EQ(timer->position, Timer::kUnarmed);
      ASSERT_FALSE(disarm(*timer));
      idle_.push_back(timer);
      ++expected;
    }
    model_.erase(model_.begin(), end);
    fired_in_all_ += fired_.size();
  }

  std::mt19937_64 random_;
  std::uint64_t now_ = 1'000;
  TimerHeap heap_;
  std::deque<SimulatedTimer> timers_{2000};
  std::vector<SimulatedTimer*> idle_;
  std::vector<SimulatedTimer*> fired_;
  std::multimap<std::uint64_t, SimulatedTimer*> model_;
  std::uint64_t fired_in_all_ = 0;
  std::size_t most_armed_ = 0;
};

// Tells whoever spins on it.
struct FlagTimer : Timer {
  std::atomic<bool> done{false};
  FlagTimer() {
    expired = [](Timer& timer) { static_cast<FlagTimer&>(timer).done.store(true); };
  }
};

}  // namespace

TEST(TimerHeap, AgreesWithASortedMapUnderASimulatedClock) {
  constexpr std::uint64_t kSteps = 1'000'000;
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    SCOPED_TRACE(seed);
    SimulatedClock clock(seed);
    for (std::uint64_t i = 0; i < kSteps / 4; ++i) {
      clock.step();
      if (i % 500 == 0) clock.check_positions();
      if (HasFatalFailure()) return;
    }
    EXPECT_GT(clock.fired_in_all(), kSteps / 100);
    EXPECT_GT(clock.most_armed(), 200u);
  }
}

TEST(Timers, AnotherProcessorFiresThoseOfOneThatDoesNotYield) {
  for (const unsigned processors : {2u, 4u}) {
    fiber::run(fiber::Options{.processors = processors}, [&] {
      for (int busy = 0; busy < 2; ++busy) {
        std::atomic<bool> stop{false};
        fiber::WaitGroup others(busy == 0 ? 0 : 3);
        for (int i = 0; busy == 1 && i < 3; ++i) {
          fiber::go([&] {
            while (!stop) fiber::yield();
            others.done();
          });
        }
        fiber::yield();
        for (int i = 0; i < 5; ++i) {
          FlagTimer timer;
          timer.when = now_ns() + 1'000'000;
          Scheduler::instance().arm(timer);
          while (!timer.done) {
          }
          disarm(timer);
          EXPECT_GE(now_ns(), timer.when);
        }
        stop = true;
        others.wait();
      }
    });
  }
}

TEST(Timers, StressOnFourProcessors) {
  fiber::run(fiber::Options{.processors = 4}, [] {
    constexpr int kFibers = 64, kRounds = 300;
    std::atomic<long> timed_out{0}, received{0}, slept{0};
    fiber::Channel<int> channel;
    fiber::WaitGroup all(2 * kFibers);
    for (int i = 0; i < kFibers; ++i) {
      // Deadlines that race against senders, so that timers are disarmed on whatever processor the receiver woke on.
      fiber::go([&, i] {
        std::mt19937 random(static_cast<unsigned>(i));
        for (int round = 0; round < kRounds; ++round) {
          const auto deadline = fiber::Clock::now() + std::chrono::microseconds(random() % 400);
          fiber::select(fiber::on_receive(channel, [&](std::optional<int>) { ++received; }),
                        fiber::until(deadline, [&] {
                          EXPECT_GE(fiber::Clock::now(), deadline);
                          ++timed_out;
                        }));
        }
        all.done();
      });
      fiber::go([&, i] {
        std::mt19937 random(static_cast<unsigned>(1000 + i));
        for (int round = 0; round < kRounds; ++round) {
          const auto deadline = fiber::Clock::now() + std::chrono::microseconds(random() % 500);
          fiber::sleep_until(deadline);
          EXPECT_GE(fiber::Clock::now(), deadline);
          ++slept;
          int value = round;
          channel.try_send(value);
        }
        all.done();
      });
    }
    // A thread that is no fiber arms and disarms too.
    std::atomic<bool> stop{false};
    std::thread foreign([&] {
      std::mt19937 random(7);
      while (!stop) {
        FlagTimer timer;
        timer.when = now_ns() + random() % 200'000;
        Scheduler::instance().arm(timer);
        if (random() % 2 == 0) {
          const bool disarmed = disarm(timer);
          EXPECT_EQ(disarmed, !timer.done);
        } else {
          while (!timer.done) std::this_thread::yield();
          EXPECT_GE(now_ns(), timer.when);
          EXPECT_FALSE(disarm(timer));
        }
      }
    });
    all.wait();
    stop = true;
    fiber::blocking([&] { foreign.join(); });
    EXPECT_EQ(timed_out + received, long{kFibers} * kRounds);
    EXPECT_EQ(slept, long{kFibers} * kRounds);
    EXPECT_GT(timed_out, 0);
    EXPECT_GT(received, 0);
  });
}

TEST(Timers, OfAnEarlierRunNeverFire) {
  // Static: the abandoned fibers' stacks refer to it.
  static std::atomic<int> woken_too_late{0};
  static std::atomic<bool> run_is_over{false};
  for (const unsigned processors : {4u, 1u, 2u}) {
    fiber::run(fiber::Options{.processors = processors}, [] {
      for (int i = 0; i < 20; ++i) {
        fiber::go([] {
          fiber::sleep_for(20ms);
          woken_too_late += run_is_over;
        });
      }
      fiber::sleep_for(1ms);  // all of them sleep
    });
    run_is_over = true;
    // The next run outlives their deadlines.
    fiber::run(fiber::Options{.processors = 3}, [] { fiber::sleep_for(30ms); });
    run_is_over = false;
    EXPECT_EQ(woken_too_late, 0);
  }
}

TEST(Timers, NeedTheRuntime) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  FlagTimer timer;
  EXPECT_DEATH(Scheduler::instance().arm(timer), "a timer was armed while the runtime is not running");
}
