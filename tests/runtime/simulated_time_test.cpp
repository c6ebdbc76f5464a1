// SPDX-License-Identifier: BSD-2-Clause
// The time in runs that a seed determines: it is simulated, and jumps to the next timer when nothing else can happen,
// but not past what somebody outside may still do.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>
#include <thread>

#include "seeded_options.h"

using namespace std::chrono_literals;

TEST(SimulatedTime, SleepingTakesNoTime) {
  fiber::run(seeded(1), [] {
    const auto start = fiber::Clock::now();
    fiber::sleep_for(240h);
    EXPECT_GE(fiber::Clock::now() - start, 240h);
    EXPECT_LT(fiber::Clock::now() - start, 240h + 1ms);
    fiber::Ticker ticker(1h);
    for (int n = 1; n <= 100; ++n) {
      ASSERT_TRUE(ticker.channel().receive());
      EXPECT_EQ((fiber::Clock::now() - start) / 1h, 240 + n);
    }
    const fiber::Context context = fiber::with_timeout({}, 1h);
    EXPECT_EQ(fiber::Channel<int>().receive(context).status, fiber::Status::cancelled);
    EXPECT_EQ(context.why(), fiber::Why::deadline_exceeded);
  });
}

TEST(SimulatedTime, TimersCloseToEachOtherExpireInAnyOrder) {
  std::set<std::string> orders;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    std::string order;
    fiber::run(seeded(seed), [&order] {
      auto sleeper = [&order](char name) {
        fiber::sleep_for(1ms);
        order += name;
      };
      auto a = fiber::spawn([&] { sleeper('a'); }), b = fiber::spawn([&] { sleeper('b'); });
      auto c = fiber::spawn([&] { sleeper('c'); });
      a.join();
      b.join();
      c.join();
    });
    orders.insert(order);
  }
  EXPECT_EQ(orders.size(), 6u);
}

TEST(SimulatedTime, LoopUntilATimeEnds) {
  fiber::run(seeded(1), [] {
    const auto end = fiber::Clock::now() + 10ms;
    while (fiber::Clock::now() < end) {
    }
  });
}

TEST(SimulatedTime, TimeIsWaitedForWhileAThreadMayWakeAFiber) {
  fiber::Channel<int> channel;
  std::atomic<bool> waiting{false};
  std::thread sender([&] {
    while (!waiting.load()) std::this_thread::yield();
    channel.send(1);
  });
  fiber::run(seeded(1), [&] {
    waiting.store(true);
    EXPECT_EQ(channel.receive(10min).value_or(0), 1);
  });
  sender.join();
}

TEST(SimulatedTime, ThreadsWaitInRealTime) {
  fiber::run(seeded(1), [] {
    fiber::sleep_for(1000h);
    fiber::Channel<int> never, done;
    std::thread waiter([&] {
      EXPECT_EQ(never.receive(1ms).status, fiber::Status::timed_out);
      fiber::sleep_for(1ms);
      done.send(1);
    });
    done.receive();
    waiter.join();
  });
}

TEST(SimulatedTime, BlockingSectionThatNeedsAnotherFiberEnds) {
  fiber::run(seeded(1), [] {
    std::atomic<bool> set{false};
    auto setter = fiber::spawn([&set] {
      fiber::sleep_for(1h);
      set.store(true);
    });
    auto second = fiber::spawn([&set] {
      while (!set.load()) fiber::sleep_for(20min);
    });
    fiber::blocking([&set] {
      for (int i = 0; i < 3; ++i) std::this_thread::yield();
    });
    setter.join();
    second.join();
    fiber::go([&set] { set.store(false); });
    fiber::blocking([&set] {
      while (set.load()) std::this_thread::yield();
    });
  });
}
