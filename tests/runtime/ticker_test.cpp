// SPDX-License-Identifier: BSD-2-Clause
// Timers and tickers as programs use them; the heap behind them has its own tests (timers_test.cpp).
#include "time/timers.h"

#include <fiber/all.h>
#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "observe.h"
#include "on_processors.h"

using namespace std::chrono_literals;

namespace {

class Alarms : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, Alarms, testing::Values(1u, 2u, 4u));

// Until the timer has gone off, unread.
void await_value(const fiber::Receiver<fiber::Deadline>& channel) {
  while (channel.size() == 0) fiber::yield();
}

}  // namespace

TEST_P(Alarms, ATimerGoesOffOnceNotBeforeItsTime) {
  run([] {
    const fiber::Deadline when = fiber::Clock::now() + 2ms;
    fiber::Timer timer(when);
    auto channel = timer.channel();
    const std::optional<fiber::Deadline> time = channel.receive();
    ASSERT_TRUE(time.has_value());
    EXPECT_GE(*time, when);
    EXPECT_GE(fiber::Clock::now(), *time);
    EXPECT_EQ(channel.receive(3ms).status, fiber::Status::timed_out);
    EXPECT_FALSE(timer.stop()) << "too late: received";
    EXPECT_FALSE(timer.reset(1ms));
    EXPECT_TRUE(channel.receive().has_value());
    // In the past: at once.
    EXPECT_FALSE(timer.reset(fiber::Clock::now() - 1s));
    EXPECT_TRUE(channel.receive().has_value());
  });
}

TEST_P(Alarms, AfterStopOrResetNoValueOfBeforeIsReceived) {
  run([] {
    fiber::Timer timer(1h);
    auto channel = timer.channel();
    EXPECT_TRUE(timer.stop());
    EXPECT_FALSE(timer.stop());
    EXPECT_FALSE(timer.reset(0ms));
    await_value(channel);
    EXPECT_TRUE(timer.stop()) << "gone off, but nobody has received it";
    EXPECT_EQ(channel.try_receive(), std::nullopt);
    timer.reset(0ms);
    await_value(channel);
    EXPECT_TRUE(timer.reset(1h));
    EXPECT_EQ(channel.try_receive(), std::nullopt);
    EXPECT_TRUE(timer.reset(fiber::Deadline::max()));
    EXPECT_FALSE(timer.stop());
  });
}

TEST_P(Alarms, ResetRacingWithTheTimeLeavesNoStaleValue) {
  run([] {
    fiber::Timer timer(fiber::Deadline::max());
    auto channel = timer.channel();
    for (int i = 0; i < 2000; ++i) {
      timer.reset(std::chrono::microseconds(i % 20));
      if (i % 3 == 0) fiber::yield();
      if (i % 2 == 0) {
        timer.reset(1h);
      } else {
        timer.stop();
      }
      EXPECT_EQ(channel.try_receive(), std::nullopt);
    }
  });
}

TEST_P(Alarms, ATimerRunsAFunctionInAFiberOfItsOwn) {
  run([] {
    fiber::Channel<std::uint64_t> ran;
    const std::uint64_t self = fiber::current_id();
    fiber::Timer timer(1ms, [=]() mutable {
      fiber::yield();
      ran.send(fiber::current_id());
    });
    EXPECT_FALSE(timer.channel()) << "nil";
    const auto id = ran.receive();
    EXPECT_NE(*id, 0u);
    EXPECT_NE(*id, self);
    EXPECT_FALSE(timer.stop());
    EXPECT_FALSE(timer.reset(1h));
    EXPECT_TRUE(timer.stop());
    std::atomic<int> never{0};
    {
      fiber::Timer stopped_by_its_end(1ms, [&] { ++never; });
    }
    fiber::sleep_for(3ms);
    EXPECT_EQ(never, 0);
  });
}

TEST_P(Alarms, ATickerTicksDropsWhatNobodyReadsAndStops) {
  run([] {
    fiber::Ticker ticker(1ms);
    auto channel = ticker.channel();
    fiber::Deadline last{};
    for (int i = 0; i < 5; ++i) {
      const auto time = channel.receive();
      EXPECT_GT(*time, last);
      last = *time;
    }
    await_value(channel);
    fiber::sleep_for(5ms);
    EXPECT_EQ(channel.size(), 1u);
    EXPECT_TRUE(ticker.stop());
    EXPECT_FALSE(ticker.stop());
    EXPECT_EQ(channel.receive(3ms).status, fiber::Status::timed_out);
    ticker.reset(500us);
    EXPECT_TRUE(channel.receive().has_value());
    EXPECT_TRUE(channel.receive().has_value());
    EXPECT_TRUE(ticker.reset(1h));
    EXPECT_EQ(channel.try_receive(), std::nullopt);
  });
}

TEST_P(Alarms, OtherThreadsMaySetAndStop) {
  run([] {
    fiber::Timer timer(1h);
    std::vector<std::thread> threads;
    for (int t = 0; t < 3; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 200; ++i) {
          timer.reset(1us);
          timer.stop();
        }
      });
    }
    fiber::blocking([&] {
      for (auto& thread : threads) thread.join();
    });
    EXPECT_FALSE(timer.stop());
    std::thread([&] { timer.reset(1ms); }).join();
    EXPECT_TRUE(timer.channel().receive().has_value());
  });
}

TEST_P(Alarms, ManyTimersAndTheirFibers) {
  run([] {
    std::atomic<int> ran{0};
    fiber::WaitGroup all(500);
    std::vector<fiber::Timer> timers;
    for (int i = 0; i < 500; ++i) {
      timers.emplace_back(std::chrono::microseconds(i), [&] {
        ++ran;
        all.done();
      });
    }
    all.wait();
    EXPECT_EQ(ran, 500);
  });
}

// What a timer starts is copied for its fiber, and a copy may use timers too.
TEST_P(Alarms, CopyingTheFunctionMayUseTimers) {
  struct Copied {
    explicit Copied(fiber::Timer& to_reset, fiber::Sender<int> to_send_to) : other(&to_reset), done(to_send_to) {}
    Copied(const Copied& copied) : other(copied.other), done(copied.done) { other->reset(1h); }
    void operator()() { done.send(1); }
    fiber::Timer* other;
    fiber::Sender<int> done;
  };
  run([] {
    fiber::Timer other(1h);
    fiber::Channel<int> done(1);
    fiber::Timer timer(1ms, Copied(other, done));
    EXPECT_EQ(*done.receive(), 1);
  });
}

TEST_P(Alarms, SelectWaitsForThem) {
  run([] {
    fiber::Timer end(20ms);
    fiber::Ticker ticker(1ms);
    int ticks = 0;
    for (bool open = true; open;) {
      fiber::select(fiber::on_receive(ticker.channel(), [&](auto) { ++ticks; }),
                    fiber::on_receive(end.channel(), [&](auto) { open = false; }));
    }
    EXPECT_GE(ticks, 1);
  });
}

TEST(AlarmsMisuse, EndsWithAMessage) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(fiber::run([] { fiber::Ticker ticker(0ms); }),
               "a ticker needs a period above zero, not 0 ns \\(fiber 1");
  EXPECT_DEATH(fiber::run([] { fiber::Ticker ticker(-5ns); }), "a ticker needs a period above zero, not -5 ns");
  EXPECT_DEATH(fiber::Timer().reset(1s), "reset of a timer or ticker that was never made");
  EXPECT_DEATH(fiber::Timer(1s), "a timer was armed while the runtime is not running");
  EXPECT_FALSE(fiber::Timer().stop());
  EXPECT_FALSE(fiber::Timer().channel());
}

TEST(TimerHeap, APeriodicTimerKeepsItsRhythmAndLeavesOutWhatHasPassed) {
  using namespace fiber::detail;
  struct Count : fiber::detail::Timer {
    int times = 0;
  } timer;
  timer.expired = [](fiber::detail::Timer& expired) { ++static_cast<Count&>(expired).times; };
  timer.when = 1000;
  timer.period = 100;
  TimerHeap heap;
  heap.arm(timer);
  EXPECT_FALSE(heap.fire(999));
  EXPECT_TRUE(heap.fire(1000));
  EXPECT_EQ(heap.earliest(), 1100u);
  EXPECT_TRUE(heap.fire(1120));
  EXPECT_EQ(heap.earliest(), 1200u);
  EXPECT_TRUE(heap.fire(1555));
  EXPECT_EQ(timer.times, 3);
  EXPECT_EQ(heap.earliest(), 1600u);
  EXPECT_TRUE(disarm(timer));
  EXPECT_FALSE(heap.fire(5000));
}
