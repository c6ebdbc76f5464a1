// SPDX-License-Identifier: BSD-2-Clause
// "All fibers are asleep": said when nothing can wake anybody, with what each waits for; never while something can.
#include <fiber/all.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "on_processors.h"

namespace {

using namespace std::chrono_literals;

// Longer than the monitor needs to look three times.
constexpr auto kWhile = 350ms;

class AllAsleep : public OnProcessors {};

TEST_P(AllAsleep, IsReportedWithStacksWhenNothingCanWakeAnybody) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(run([] {
                 fiber::Channel<int> channel;
                 fiber::go({.name = "waiter"}, [=]() mutable { channel.receive(); });
                 channel.receive();
               }),
               "all fibers are asleep - deadlock!(.|\n)*main(.|\n)*chan receive(.|\n)*waiter");
}

TEST_P(AllAsleep, SaysWhatEachFiberWaitsFor) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(run([] {
                 fiber::Mutex a("accounts"), b("ledger");
                 fiber::Channel<int> orders(0, "orders");
                 std::atomic<int> holding{0};
                 const auto both = [&](fiber::Mutex& first, fiber::Mutex& second) {
                   first.lock();
                   ++holding;
                   while (holding < 2) fiber::yield();
                   second.lock();
                 };
                 auto one = fiber::spawn({.name = "one"}, [&] { both(a, b); });
                 fiber::go({.name = "two"}, [&] { both(b, a); });
                 fiber::go({.name = "three"}, [&] { fiber::select(fiber::on_receive(orders, [](auto) {})); });
                 one.join();
               }),
               "\"main\" .join: the end of fiber [0-9]+ \"one\", (.|\n)*"
               "\"one\" .mutex: mutex \"ledger\" .0x[0-9a-f]+., held by fiber [0-9]+ \"two\", (.|\n)*"
               "\"two\" .mutex: mutex \"accounts\" .0x[0-9a-f]+., held by fiber [0-9]+ \"one\", (.|\n)*"
               "\"three\" .select: to receive from channel \"orders\" .0x[0-9a-f]+., 0 of 0 buffered, made at ");
}

TEST_P(AllAsleep, IsReportedAfterARunThatLeftASectionBehind) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        run([] {
          std::atomic<bool> inside{false};
          fiber::go([&] {
            fiber::blocking([&] {
              inside = true;
              sleep(60);
            });
          });
          while (!inside) fiber::yield();
        });
        run([] { fiber::Channel<int>(0, "nobody sends").receive(); });
      },
      "all fibers are asleep - deadlock!(.|\n)*\"nobody sends\"");
}

TEST_P(AllAsleep, IsNotReportedWhenTurnedOff) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto hang = [] {
    signal(SIGALRM, [](int) { _exit(7); });
    alarm(1);
    fiber::run(fiber::Options{.processors = GetParam(), .deadlock_check = false},
               [] { fiber::Channel<int>().receive(); });
  };
  EXPECT_EXIT(hang(), testing::ExitedWithCode(7), "^$");
}

TEST_P(AllAsleep, IsNotReportedWhileATimerIsArmed) {
  run([] { fiber::sleep_for(kWhile); });
  run([] { EXPECT_EQ(fiber::Channel<int>().receive(kWhile), std::nullopt); });
  run([] {
    fiber::Channel<int> channel;
    fiber::Timer timer(kWhile, [=]() mutable { channel.send(1); });
    EXPECT_EQ(channel.receive(), 1);
  });
  run([] {
    fiber::Ticker ticker(kWhile);
    for (int i = 0; i < 2; ++i) ticker.channel().receive();
  });
  run([] { fiber::with_timeout(fiber::Context(), kWhile).wait(); });
}

TEST_P(AllAsleep, IsNotReportedWhileAForeignThreadIsThere) {
  run([] {
    fiber::Channel<int> channel;
    std::thread thread([=]() mutable {
      std::this_thread::sleep_for(kWhile);
      channel.send(1);
    });
    channel.receive();
    fiber::blocking([&] { thread.join(); });
  });
  // One that was there before the run.
  fiber::Mutex mutex;
  std::atomic<bool> held{false};
  std::thread owner([&] {
    mutex.lock();
    held = true;
    std::this_thread::sleep_for(kWhile);
    mutex.unlock();
  });
  run([&] {
    while (!held) fiber::yield();
    mutex.lock();
    mutex.unlock();
  });
  owner.join();
}

TEST_P(AllAsleep, IsNotReportedWhileASectionRuns) {
  run([] { fiber::spawn([] { fiber::blocking([] { usleep(350'000); }); }).join(); });
}

// The bytes come from another process, so that no thread of this one stands for them.
TEST_P(AllAsleep, IsNotReportedWhileSomebodyWaitsForASocket) {
  FILE* peer = nullptr;
  run([&] {
    auto listener = fiber::TcpListener::listen("127.0.0.1", 0);
    ASSERT_TRUE(listener);
    fiber::Channel<int> accepted;
    fiber::go([&, accepted]() mutable {
      auto connection = listener.accept();
      accepted.send(connection ? 1 : 0);
    });
    const std::string command =
        "bash -c 'sleep 0.35; exec 3<>/dev/tcp/127.0.0.1/" + std::to_string(listener.port()) + "'";
    peer = popen(command.c_str(), "r");
    ASSERT_NE(peer, nullptr);
    EXPECT_EQ(accepted.receive(), 1);
  });
  EXPECT_EQ(pclose(peer), 0);
}

TEST_P(AllAsleep, IsNotReportedInRunsAfterOthers) {
  for (int i = 0; i < 2; ++i) {
    run([] {
      for (int waiter = 0; waiter < 10; ++waiter) fiber::go([] { fiber::Channel<int>().receive(); });
      fiber::yield();  // and leaves them
    });
    run([] {
      fiber::Channel<int> channel;
      fiber::go([=]() mutable {
        fiber::sleep_for(kWhile);
        channel.send(1);
      });
      EXPECT_EQ(channel.receive(), 1);
    });
  }
}

// The process ends while fibers wait: handlers and destructors take their time, and wake one of them.
fiber::Channel<int>* woken_at_exit = nullptr;
struct Finalizer {
  ~Finalizer() {
    if (woken_at_exit == nullptr) return;
    usleep(350'000);
    woken_at_exit->send(1);
    woken_at_exit->send(2);  // taken once the first one has been printed
  }
};

TEST_P(AllAsleep, IsNotReportedWhileTheProcessEnds) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto exits_in_a_fiber = [this] {
    static Finalizer finalizer;
    run([] {
      woken_at_exit = new fiber::Channel<int>;
      fiber::go([] {
        while (auto value = woken_at_exit->receive()) std::fprintf(stderr, "woken %d\n", *value);
      });
      std::atexit([] { usleep(350'000); });
      std::exit(5);
    });
  };
  EXPECT_EXIT(exits_in_a_fiber(), testing::ExitedWithCode(5), "^woken 1\n");
}

INSTANTIATE_TEST_SUITE_P(Processors, AllAsleep, testing::Values(1u, 2u, 4u));

}  // namespace
