// SPDX-License-Identifier: BSD-2-Clause
// Once: runs one time, exceptions, threads, misuse.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "observe.h"
#include "on_processors.h"

using namespace std::chrono_literals;
using fiber::Status;

namespace {

class Onces : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, Onces, testing::Values(1u, 2u, 4u));

}  // namespace

TEST_P(Onces, RunsOneTimeAndAllSeeItsEffect) {
  run([] {
    for (int round = 0; round < 50; ++round) {
      fiber::Once once;
      int value = 0;
      fiber::WaitGroup all;
      for (int f = 0; f < 10; ++f) {
        fiber::go([&, token = all.token()] {
          once.call([&] {
            fiber::yield();
            ++value;
          });
          EXPECT_EQ(value, 1);
        });
      }
      all.wait();
      EXPECT_TRUE(once.done());
      once.call([] { FAIL(); });
    }
  });
}

TEST_P(Onces, IsTriedAgainByTheNextAfterAnException) {
  run([] {
    fiber::Once once;
    fiber::Channel<bool> go_on;
    std::atomic<bool> begun{false};
    std::vector<int> ran;
    auto first = fiber::spawn([&] {
      once.call([&] {
        ran.push_back(0);
        begun = true;
        go_on.receive();
        throw std::runtime_error("first");
      });
    });
    while (!begun) fiber::yield();
    fiber::WaitGroup rest;
    for (int i = 1; i <= 3; ++i) {
      fiber::go([&, i, token = rest.token()] {
        once.call([&, i] {
          fiber::yield();
          ran.push_back(i);
        });
      });
      observe::await_parked(&once, static_cast<std::size_t>(i));
    }
    EXPECT_EQ(once.call([] { FAIL(); }, 1ms), Status::timed_out);
    go_on.send(true);
    EXPECT_THROW(first.join(), std::runtime_error);
    rest.wait();
    EXPECT_EQ(ran, (std::vector<int>{0, 1}));
  });
}

TEST_P(Onces, OnAThreadBlocksOthersWhileItRuns) {
  run([] {
    fiber::Once once;
    std::atomic<bool> started{false}, may_end{false};
    int value = 0;
    std::thread thread([&] {
      once.call([&] {
        started = true;
        while (!may_end) std::this_thread::yield();
        value = 1;
      });
    });
    while (!started) fiber::yield();
    auto waiter = fiber::spawn([&] {
      once.call([] { FAIL(); });
      return value;
    });
    observe::await_parked(&once, 1);
    may_end = true;
    EXPECT_EQ(waiter.join(), 1);
    fiber::blocking([&] { thread.join(); });
  });
}

TEST(Onces, MisuseEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(fiber::run([] {
                 fiber::Once once("config");
                 once.call([&] { once.call([] {}); });
               }),
               "once 0x[0-9a-f]+ \"config\" called from inside the function it runs \\(fiber 1 \"main\"\\)");
}
