// SPDX-License-Identifier: BSD-2-Clause
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "on_processors.h"

using namespace std::chrono_literals;

namespace {

// Every test runs on one processor, where interleavings are cooperative, and on several.
class Channels : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, Channels, testing::Values(1u, 2u, 4u));

}  // namespace

TEST_P(Channels, UnbufferedHandsOverInOrder) {
  run([] {
    fiber::Channel<int> channel;
    fiber::go([=]() mutable {
      for (int i = 0; i < 1000; ++i) channel.send(i);
      channel.close();
    });
    int expected = 0;
    for (int value : channel.receiver()) EXPECT_EQ(value, expected++);
    EXPECT_EQ(expected, 1000);
    EXPECT_FALSE(channel.receive().has_value());
  });
}

TEST_P(Channels, BufferedHoldsItsCapacityThenWaits) {
  run([] {
    fiber::Channel<int> channel(3);
    EXPECT_TRUE(channel.try_send(1));
    EXPECT_TRUE(channel.try_send(2));
    EXPECT_TRUE(channel.try_send(3));
    EXPECT_FALSE(channel.try_send(4));
    EXPECT_EQ(channel.size(), 3u);
    EXPECT_EQ(channel.capacity(), 3u);
    channel.close();
    EXPECT_EQ(channel.receive(), 1);
    EXPECT_EQ(channel.receive(), 2);
    EXPECT_EQ(channel.receive(), 3);
    EXPECT_EQ(channel.receive(), std::nullopt);
  });
}

TEST_P(Channels, MoveOnlyAndNonTrivialValuesAreNeitherLostNorDuplicated) {
  static std::atomic<int> alive{0};
  struct Counted {
    Counted() { ++alive; }
    Counted(Counted&& other) noexcept : text(std::move(other.text)) { ++alive; }
    Counted& operator=(Counted&&) = default;
    ~Counted() { --alive; }
    std::string text = std::string(100, 'x');
  };
  alive = 0;
  run([] {
    fiber::Channel<Counted> channel(4);
    auto sender = fiber::spawn([channel]() mutable {
      for (int i = 0; i < 100; ++i) channel.send(Counted{});
    });
    for (int i = 0; i < 90; ++i) EXPECT_EQ(channel.receive()->text.size(), 100u);
    // the rest stays in the buffer and with a waiting sender
    while (channel.size() < 4) fiber::yield();
    for (int i = 0; i < 6; ++i) channel.receive();
    sender.join();
  });
  EXPECT_EQ(alive, 0);  // the channel destroyed what was left in it
}

TEST_P(Channels, ManyToManyDeliversEveryValueOnce) {
  run([] {
    constexpr int kSenders = 20, kReceivers = 7, kEach = 500;
    for (std::size_t capacity : {0, 1, 16}) {
      fiber::Channel<int> channel(capacity);
      std::vector<std::atomic<int>> seen(kSenders * kEach);
      fiber::WaitGroup senders(kSenders), receivers(kReceivers);
      for (int s = 0; s < kSenders; ++s) {
        fiber::go([&, s]() mutable {
          for (int i = 0; i < kEach; ++i) channel.send(s * kEach + i);
          senders.done();
        });
      }
      for (int r = 0; r < kReceivers; ++r) {
        fiber::go([&] {
          while (auto value = channel.receive()) ++seen[*value];
          receivers.done();
        });
      }
      senders.wait();
      channel.close();
      receivers.wait();
      EXPECT_TRUE(std::all_of(seen.begin(), seen.end(), [](const auto& count) { return count == 1; })) << capacity;
    }
  });
}

TEST_P(Channels, ForeignThreadsSendAndReceive) {
  run([] {
    fiber::Channel<int> to_thread, from_thread;
    std::thread thread([=]() mutable {
      while (auto value = to_thread.receive()) from_thread.send(*value * 2);
      from_thread.close();
    });
    for (int i = 0; i < 200; ++i) {
      to_thread.send(i);
      EXPECT_EQ(from_thread.receive(), i * 2);
    }
    to_thread.close();
    EXPECT_EQ(from_thread.receive(), std::nullopt);
    fiber::blocking([&] { thread.join(); });
  });
}

TEST_P(Channels, SelectTakesWhatIsReadyAndDefaultOtherwise) {
  run([] {
    fiber::Channel<int> a(1), b(1);
    std::string taken;
    auto once = [&] {
      return fiber::select(fiber::on_receive(a, [&](auto) { taken = "a"; }), fiber::on_send(b, 7, [&] { taken = "b"; }),
                           fiber::otherwise([&] { taken = "default"; }));
    };
    EXPECT_EQ(once(), 1u);
    EXPECT_EQ(taken, "b");
    EXPECT_EQ(once(), 2u);
    EXPECT_EQ(taken, "default");
    a.send(1);
    EXPECT_EQ(once(), 0u);
    EXPECT_EQ(taken, "a");
    EXPECT_EQ(b.receive(), 7);
  });
}

TEST_P(Channels, SelectChoiceAmongReadyArmsIsFair) {
  run([] {
    fiber::Channel<int> a(1), b(1);
    int from_a = 0;
    constexpr int kRounds = 2000;
    for (int i = 0; i < kRounds; ++i) {
      a.try_send(1);
      b.try_send(1);
      fiber::select(fiber::on_receive(a, [&](auto) { ++from_a; }), fiber::on_receive(b, [](auto) {}));
    }
    // 2000 fair coins: eight standard deviations are 179.
    EXPECT_NEAR(from_a, kRounds / 2, 179);
  });
}

TEST_P(Channels, SelectDeadlinePassesAndAnEarlierValueWins) {
  run([] {
    fiber::Channel<int> silent;
    const auto start = fiber::Clock::now();
    bool timed_out = false;
    fiber::select(fiber::on_receive(silent, [](auto) { FAIL(); }), fiber::after(20ms, [&] { timed_out = true; }));
    EXPECT_TRUE(timed_out);
    EXPECT_GE(fiber::Clock::now() - start, 20ms);

    fiber::go([silent]() mutable {
      fiber::sleep_for(5ms);
      silent.send(9);
    });
    int got = 0;
    fiber::select(fiber::on_receive(silent, [&](auto value) { got = value.value(); }),
                  fiber::after(10s, [] { FAIL(); }));
    EXPECT_EQ(got, 9);
  });
}

TEST_P(Channels, SelectSeesCloseAndNilArmsAreNeverReady) {
  run([] {
    fiber::Channel<int> channel;
    fiber::Receiver<int> nil;
    fiber::go([channel]() mutable {
      fiber::sleep_for(1ms);
      channel.close();
    });
    bool closed = false;
    fiber::select(fiber::on_receive(nil, [](auto) { FAIL(); }),
                  fiber::on_receive(channel, [&](std::optional<int> value) { closed = !value; }));
    EXPECT_TRUE(closed);
  });
}

TEST_P(Channels, SelectsAgainstSelectsLoseNothing) {
  run([] {
    constexpr int kFibers = 8, kEach = 2000;
    fiber::Channel<int> a, b;
    std::atomic<long> sent{0}, received{0};
    fiber::WaitGroup senders(kFibers), receivers(kFibers);
    fiber::Channel<bool> stop;
    for (int f = 0; f < kFibers; ++f) {
      fiber::go([&, f] {
        for (int i = 0; i < kEach; ++i) {
          const int value = f * kEach + i;
          fiber::select(fiber::on_send(a, value, [&] { sent += value; }),
                        fiber::on_send(b, value, [&] { sent += value; }));
        }
        senders.done();
      });
      fiber::go([&] {
        bool running = true;
        while (running) {
          fiber::select(fiber::on_receive(a, [&](auto v) { received += *v; }),
                        fiber::on_receive(b, [&](auto v) { received += *v; }),
                        fiber::on_receive(stop, [&](auto) { running = false; }));
        }
        receivers.done();
      });
    }
    senders.wait();
    stop.close();
    receivers.wait();
    EXPECT_EQ(sent, received);
    const long n = kFibers * kEach;
    EXPECT_EQ(sent, n * (n - 1) / 2);
  });
}

TEST_P(Channels, SelectTimeoutsRacingWithSendsLoseNothing) {
  run([] {
    fiber::Channel<int> channel;
    std::atomic<long> received{0};
    std::atomic<bool> done{false};
    fiber::WaitGroup receivers(4);
    for (int r = 0; r < 4; ++r) {
      fiber::go([&] {
        while (!done) {
          fiber::select(fiber::on_receive(channel, [&](auto v) { received += v.value_or(0); }),
                        fiber::after(50us, [] {}));
        }
        receivers.done();
      });
    }
    long sent = 0;
    for (int i = 1; i <= 3000; ++i) {
      if (i % 3 == 0) fiber::sleep_for(40us);
      channel.send(i);
      sent += i;
    }
    done = true;
    receivers.wait();
    EXPECT_EQ(received, sent);
  });
}

TEST_P(Channels, PairsThatMeetOnUnbufferedChannelsNeverLoseAWakeUp) {
  // Few fibers on several processors: nearly every park goes through a worker's own loop and every wake-up crosses
  // threads. A lost one ends in "all fibers are asleep".
  run([] {
    constexpr int kPairs = 3, kRounds = 30'000;
    fiber::WaitGroup all(kPairs);
    for (int p = 0; p < kPairs; ++p) {
      fiber::go([&] {
        fiber::Channel<int> there, back;
        auto echo = fiber::spawn([&] {
          while (auto value = there.receive()) back.send(*value + 1);
        });
        int value = 0;
        for (int i = 0; i < kRounds; ++i) {
          there.send(value);
          value = *back.receive();
        }
        EXPECT_EQ(value, kRounds);
        there.close();
        echo.join();
        all.done();
      });
    }
    all.wait();
  });
}

TEST(ChannelMisuse, EndsWithAMessageThatNamesTheFiber) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(fiber::run([] {
                 fiber::Channel<int> channel;
                 channel.close();
                 channel.send(1);
               }),
               "send on closed channel 0x[0-9a-f]+ \\(fiber 1 \"main\"\\)");
  EXPECT_DEATH(fiber::run([] {
                 fiber::Channel<int> channel;
                 channel.close();
                 channel.close();
               }),
               "close of closed channel");
  EXPECT_DEATH(fiber::run([] { fiber::Sender<int>().close(); }), "close of a nil channel");
  EXPECT_DEATH(fiber::run([] { fiber::Channel<std::string> huge(~std::size_t{0} / 8); }), "cannot make a channel");
  EXPECT_DEATH(fiber::run([] {
                 fiber::Channel<int> channel;
                 fiber::blocking([&] { channel.receive(); });
               }),
               "inside a blocking section");
}
