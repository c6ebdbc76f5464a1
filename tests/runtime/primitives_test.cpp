// SPDX-License-Identifier: BSD-2-Clause
// Reader-writer lock, semaphore, once and barrier: semantics, order, limits, threads, stress.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "observe.h"

using namespace std::chrono_literals;
using fiber::Status;

namespace {

class Primitives : public testing::TestWithParam<unsigned> {
 protected:
  template <class F>
  void run(F body) {
    fiber::run(fiber::Options{.processors = GetParam()}, body);
  }
};
INSTANTIATE_TEST_SUITE_P(Processors, Primitives, testing::Values(1u, 2u, 4u));

}  // namespace

// --- reader-writer lock ----------------------------------------------------------------------------------------------

TEST_P(Primitives, RwLockAdmitsManyReadersOrOneWriter) {
  run([] {
    fiber::RwLock lock;
    fiber::Barrier together(5);
    fiber::WaitGroup readers;
    for (int i = 0; i < 5; ++i) {
      fiber::go([&, token = readers.token()] {
        std::shared_lock guard(lock);
        together.arrive_and_wait();  // only if all five are inside
      });
    }
    readers.wait();
    std::unique_lock writer(lock);
    EXPECT_EQ(lock.owner(), fiber::current_id());
    fiber::spawn([&] {
      EXPECT_FALSE(lock.try_lock());
      EXPECT_FALSE(lock.try_lock_shared());
      EXPECT_FALSE(lock.try_lock_for(1ms));
      EXPECT_FALSE(lock.try_lock_shared_until(fiber::Clock::now() + 1ms));
    }).join();
    writer.unlock();
    EXPECT_EQ(lock.owner(), 0u);
    std::shared_lock reader(lock);
    fiber::spawn([&] {
      EXPECT_FALSE(lock.try_lock());
      EXPECT_TRUE(lock.try_lock_shared());
      lock.unlock_shared();
    }).join();
  });
}

TEST_P(Primitives, RwLockWaitingWriterGoesBeforeLaterReaders) {
  run([] {
    fiber::RwLock lock;
    std::mutex order_mutex;
    std::string order;
    auto note = [&](char who) {
      std::lock_guard guard(order_mutex);
      order += who;
    };
    fiber::WaitGroup all;
    lock.lock_shared();
    fiber::go([&, token = all.token()] {
      std::unique_lock guard(lock);
      note('W');
    });
    observe::await_parked(&lock, 1);
    EXPECT_FALSE(fiber::spawn([&] { return lock.try_lock_shared(); }).join());
    for (std::size_t i = 0; i < 3; ++i) {
      fiber::go([&, token = all.token()] {
        std::shared_lock guard(lock);
        note('r');
      });
      observe::await_parked(&lock, 2 + i);
    }
    fiber::go([&, token = all.token()] {
      std::unique_lock guard(lock);
      note('w');
    });
    observe::await_parked(&lock, 5);
    lock.unlock_shared();
    all.wait();
    EXPECT_EQ(order, "Wrrrw");
  });
}

TEST_P(Primitives, RwLockLetsReadersInWhenTheWriterBeforeThemGivesUp) {
  run([] {
    fiber::RwLock lock;
    lock.lock_shared();
    fiber::CancelSource source = fiber::with_cancel();
    auto writer = fiber::spawn([&] { return lock.lock(source.context()); });
    observe::await_parked(&lock, 1);
    auto reader = fiber::spawn([&] {
      std::shared_lock guard(lock);
      return true;
    });
    observe::await_parked(&lock, 2);
    source.cancel();
    EXPECT_EQ(writer.join(), Status::cancelled);
    EXPECT_TRUE(reader.join());
    lock.unlock_shared();
    EXPECT_TRUE(lock.try_lock());
    EXPECT_EQ(fiber::spawn([&] { return lock.lock_shared(1ms); }).join(), Status::timed_out);
    lock.unlock();
  });
}

TEST_P(Primitives, RwLockStress) {
  run([] {
    fiber::RwLock lock;
    long a = 0, b = 0;  // equal whenever nobody writes
    std::atomic<int> readers{0}, writes{0};
    fiber::WaitGroup all;
    auto work = [&](int f) {
      for (int i = 0; i < 300; ++i) {
        const bool limited = (f + i) % 3 == 0;
        if ((f + i) % 4 == 0) {
          if (limited) {
            if (lock.lock(std::chrono::microseconds(i % 50)) != Status::done) continue;
          } else {
            lock.lock();
          }
          EXPECT_EQ(readers, 0);
          ++a;
          if (i % 7 == 0) fiber::yield();
          ++b;
          ++writes;
          lock.unlock();
        } else {
          if (limited) {
            if (lock.lock_shared(std::chrono::microseconds(i % 50)) != Status::done) continue;
          } else {
            lock.lock_shared();
          }
          ++readers;
          EXPECT_EQ(a, b);
          if (i % 5 == 0) fiber::yield();
          --readers;
          lock.unlock_shared();
        }
      }
    };
    for (int f = 0; f < 16; ++f) fiber::go([&, f, token = all.token()] { work(f); });
    std::thread thread([&] { work(3); });
    all.wait();
    fiber::blocking([&] { thread.join(); });
    EXPECT_EQ(a, writes);
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  });
}

TEST(PrimitivesMisuse, RwLock) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      fiber::run([] {
        fiber::RwLock lock("table");
        fiber::spawn({.name = "writer"}, [&] { lock.lock(); }).join();
        lock.unlock();
      }),
      "rwlock 0x[0-9a-f]+ \"table\" unlocked by somebody who does not hold it for writing; its writer is fiber 2");
  EXPECT_DEATH(fiber::run([] {
                 fiber::RwLock lock;
                 lock.lock_shared();
                 fiber::spawn([&] { lock.unlock_shared(); }).join();
               }),
               "unlocked by somebody who does not hold it for reading \\(fiber 2\\)");
  EXPECT_DEATH(fiber::run([] {
                 fiber::RwLock lock;
                 lock.lock();
                 lock.lock_shared();
               }),
               "locked again by its writer \\(fiber 1 \"main\"\\)");
  EXPECT_DEATH(fiber::run([] {
                 fiber::RwLock lock;
                 lock.lock_shared();
                 lock.lock();
               }),
               "locked for writing by somebody who holds it for reading");
  EXPECT_DEATH(fiber::RwLock().unlock_shared(), "does not hold it for reading \\(thread [0-9]+\\)");
}

TEST(Primitives, AFiberMayHoldManyReadLocks) {
  fiber::run([] {
    std::vector<std::unique_ptr<fiber::RwLock>> locks;
    for (int i = 0; i < 9; ++i) locks.push_back(std::make_unique<fiber::RwLock>());
    for (auto& lock : locks) lock->lock_shared();
    for (auto& lock : locks) lock->unlock_shared();
    for (auto& lock : locks) {
      EXPECT_TRUE(lock->try_lock());
      lock->unlock();
    }
  });
}

// --- semaphore -------------------------------------------------------------------------------------------------------

TEST_P(Primitives, SemaphoreBoundsHowManyAreInside) {
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

TEST_P(Primitives, SemaphoreServesInOrderAndNobodyOvertakesWhoWantsMany) {
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
    semaphore.release(2);
    EXPECT_EQ(order.receive(), 3);
    EXPECT_EQ(order.receive(), 1);
    EXPECT_EQ(semaphore.available(), 0);
  });
}

TEST_P(Primitives, SemaphoreServesTheNextWhenTheFirstGivesUp) {
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

TEST_P(Primitives, SemaphoreBetweenThreadsAndFibers) {
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

TEST(PrimitivesMisuse, Semaphore) {
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

// --- once ------------------------------------------------------------------------------------------------------------

TEST_P(Primitives, OnceRunsOneTimeAndAllSeeItsEffect) {
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

TEST_P(Primitives, OnceIsTriedAgainByTheNextAfterAnException) {
  run([] {
    fiber::Once once;
    fiber::Channel<bool> go_on;
    std::vector<int> ran;
    auto first = fiber::spawn([&] {
      once.call([&] {
        ran.push_back(0);
        go_on.receive();
        throw std::runtime_error("first");
      });
    });
    while (ran.empty()) fiber::yield();
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

TEST_P(Primitives, OnceOnAThreadBlocksOthersWhileItRuns) {
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

TEST(PrimitivesMisuse, Once) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(fiber::run([] {
                 fiber::Once once("config");
                 once.call([&] { once.call([] {}); });
               }),
               "once 0x[0-9a-f]+ \"config\" called from inside the function it runs \\(fiber 1 \"main\"\\)");
}

// --- barrier ---------------------------------------------------------------------------------------------------------

TEST_P(Primitives, BarrierRoundsDoNotMix) {
  run([] {
    constexpr int kParties = 7, kRounds = 300;
    fiber::Barrier barrier(kParties);
    std::atomic<int> arrived{0}, lasts{0};
    fiber::WaitGroup all;
    for (int f = 0; f < kParties; ++f) {
      fiber::go([&, token = all.token()] {
        for (int round = 1; round <= kRounds; ++round) {
          ++arrived;
          if (barrier.arrive_and_wait()) ++lasts;
          const int seen = arrived;
          EXPECT_GE(seen, round * kParties);
          EXPECT_LT(seen, (round + 1) * kParties);
        }
      });
    }
    all.wait();
    EXPECT_EQ(lasts, kRounds);
    EXPECT_TRUE(fiber::Barrier(1).arrive_and_wait());
  });
}

TEST_P(Primitives, BarrierArrivalIsWithdrawnWhenItsLimitComesFirst) {
  run([] {
    fiber::Barrier barrier(2);
    bool last = true;
    EXPECT_EQ(barrier.arrive_and_wait(1ms, &last), Status::timed_out);
    EXPECT_FALSE(last);
    auto other = fiber::spawn([&] { return barrier.arrive_and_wait(1h); });
    observe::await_parked(&barrier, 1);
    EXPECT_TRUE(barrier.arrive_and_wait());
    EXPECT_EQ(other.join(), Status::done);
  });
}

TEST_P(Primitives, BarrierLimitsRacingWithTheLastArrivalAgree) {
  run([] {
    for (int round = 0; round < 1000; ++round) {
      fiber::Barrier barrier(2);
      auto hasty = fiber::spawn([&] { return barrier.arrive_and_wait(std::chrono::microseconds(round % 16)); });
      if (round % 2 == 0) fiber::yield();
      // Either both met, or neither did.
      const Status mine = barrier.arrive_and_wait(std::chrono::microseconds(round % 16));
      EXPECT_EQ(hasty.join(), mine);
    }
  });
}

TEST(PrimitivesMisuse, Barrier) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(fiber::Barrier(0), "barrier 0x[0-9a-f]+ made for a number of parties of 0");
  EXPECT_DEATH(fiber::Barrier(-2, "start"), "\"start\" made for a number of parties of -2");
}
