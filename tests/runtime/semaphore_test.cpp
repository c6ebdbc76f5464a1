// SPDX-License-Identifier: BSD-2-Clause
// Semaphore: bounds, order, limits, threads, misuse.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "observe.h"
#include "on_processors.h"

using namespace std::chrono_literals;
using fiber::Status;

namespace {

class Semaphores : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, Semaphores, testing::Values(1u, 2u, 4u));

}  // namespace

TEST_P(Semaphores, BoundsHowManyAreInside) {
  run([] {
    fiber::Semaphore semaphore(3);
    std::atomic<int> inside{0};
    fiber::WaitGroup all;
    for (int f = 0; f < 20; ++f) {
      fiber::go([&, f, token = all.token()] {
        for (int i = 0; i < 100; ++i) {
          const int count = 1 + (f + i) % 3;
          if (i % 4 == 0) {
            if (semaphore.acquire(count, std::chrono::microseconds(i)) != Status::done) continue;
          } else {
            semaphore.acquire(count);
          }
          EXPECT_LE(inside += count, 3);
          if (i % 3 == 0) fiber::yield();
          inside -= count;
          semaphore.release(count);
        }
      });
    }
    all.wait();
    EXPECT_EQ(semaphore.available(), 3);
    EXPECT_TRUE(semaphore.try_acquire(3));
    EXPECT_FALSE(semaphore.try_acquire());
  });
}

TEST_P(Semaphores, ServesInOrderAndNobodyOvertakesWhoWantsMany) {
  run([] {
    fiber::Semaphore semaphore(1, 10);
    fiber::Channel<int> order(10);
    auto want = [&](int count) {
      fiber::go([&, count] {
        semaphore.acquire(count);
        order.send(count);
      });
    };
    want(3);
    observe::await_parked(&semaphore, 1);
    EXPECT_FALSE(semaphore.try_acquire()) << "one is free, but somebody waits";
    want(1);
    observe::await_parked(&semaphore, 2);
    semaphore.release();
    EXPECT_EQ(order.try_receive(), std::nullopt);
    semaphore.release();
    EXPECT_EQ(order.receive(), 3);
    EXPECT_EQ(order.try_receive(), std::nullopt);
    semaphore.release();
    EXPECT_EQ(order.receive(), 1);
    EXPECT_EQ(semaphore.available(), 0);
  });
}

TEST_P(Semaphores, ServesTheNextWhenTheFirstGivesUp) {
  run([] {
    fiber::Semaphore semaphore(1);
    fiber::CancelSource source = fiber::with_cancel();
    auto greedy = fiber::spawn([&] { return semaphore.acquire(2, source.context()); });
    observe::await_parked(&semaphore, 1);
    auto modest = fiber::spawn([&] { return semaphore.acquire(1h); });
    observe::await_parked(&semaphore, 2);
    source.cancel();
    EXPECT_EQ(greedy.join(), Status::cancelled);
    EXPECT_EQ(modest.join(), Status::done);
    EXPECT_EQ(semaphore.acquire(1ms), Status::timed_out);
  });
}

TEST_P(Semaphores, BetweenThreadsAndFibers) {
  run([] {
    fiber::Semaphore to_thread(0), to_fiber(0);
    std::thread thread([&] {
      for (int i = 0; i < 200; ++i) {
        to_thread.acquire();
        to_fiber.release();
      }
    });
    for (int i = 0; i < 200; ++i) {
      to_thread.release();
      to_fiber.acquire();
    }
    fiber::blocking([&] { thread.join(); });
    EXPECT_EQ(to_thread.available() + to_fiber.available(), 0);
  });
}

TEST(Semaphores, MisuseEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(fiber::Semaphore(-1),
               "semaphore 0x[0-9a-f]+ made with permits beyond its bounds: -1 \\(thread [0-9]+\\)");
  EXPECT_DEATH(fiber::Semaphore(5, 4), "made with permits beyond its bounds: 5");
  EXPECT_DEATH(fiber::Semaphore(0, 0), "made with a maximum of 0");
  EXPECT_DEATH(fiber::Semaphore(1, 2, "slots").release(2), "\"slots\" released beyond its maximum of 2");
  EXPECT_DEATH(fiber::Semaphore(1).acquire(0), "asked to move a number of permits of 0");
  EXPECT_DEATH(fiber::Semaphore(1).release(-4), "asked to move a number of permits of -4");
  EXPECT_DEATH(fiber::Semaphore(1, 2).acquire(3), "asked for more permits than its maximum: 3");
}
