// SPDX-License-Identifier: BSD-2-Clause
// Reader-writer lock: who is let in beside whom, order, limits, misuse, stress.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "observe.h"
#include "on_processors.h"

using namespace std::chrono_literals;
using fiber::Status;

namespace {

class RwLocks : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, RwLocks, testing::Values(1u, 2u, 4u));

}  // namespace

TEST_P(RwLocks, AdmitsManyReadersOrOneWriter) {
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

TEST_P(RwLocks, WaitingWriterGoesBeforeLaterReaders) {
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

TEST_P(RwLocks, LetsReadersInWhenTheWriterBeforeThemGivesUp) {
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

TEST_P(RwLocks, Stress) {
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

TEST(RwLocks, MisuseEndsTheProcess) {
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

TEST(RwLocks, AFiberMayHoldManyReadLocks) {
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
