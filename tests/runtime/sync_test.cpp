// SPDX-License-Identifier: BSD-2-Clause
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <limits>
#include <thread>
#include <vector>

#include "observe.h"
#include "on_processors.h"

using namespace std::chrono_literals;

namespace {

class Sync : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, Sync, testing::Values(1u, 2u, 4u));

}  // namespace

TEST_P(Sync, MutexExcludesAndTellsItsOwner) {
  run([] {
    fiber::Mutex mutex;
    long counter = 0;  // not atomic on purpose
    fiber::WaitGroup all(50);
    for (int f = 0; f < 50; ++f) {
      fiber::go([&] {
        for (int i = 0; i < 400; ++i) {
          std::lock_guard guard(mutex);
          EXPECT_EQ(mutex.owner(), fiber::current_id());
          const long seen = counter;
          if (i % 50 == 0) fiber::yield();
          counter = seen + 1;
        }
        all.done();
      });
    }
    all.wait();
    EXPECT_EQ(counter, 50 * 400);
    EXPECT_EQ(mutex.owner(), 0u);
  });
}

TEST_P(Sync, MutexTimedLockGivesUpAndOthersStillGetIt) {
  run([] {
    fiber::Mutex mutex;
    mutex.lock();
    auto timed = fiber::spawn([&] { return mutex.try_lock_until(fiber::Clock::now() + 5ms); });
    auto patient = fiber::spawn([&] {
      mutex.lock();
      mutex.unlock();
      return true;
    });
    EXPECT_FALSE(timed.join());
    mutex.unlock();
    EXPECT_TRUE(patient.join());
    EXPECT_TRUE(mutex.try_lock());
    EXPECT_FALSE(fiber::spawn([&] { return mutex.try_lock(); }).join());
    mutex.unlock();
  });
}

TEST_P(Sync, TimedLocksRacingWithUnlocksKeepExclusion) {
  run([] {
    fiber::Mutex mutex;
    long inside = 0, entered = 0;
    fiber::WaitGroup all(16);
    for (int f = 0; f < 16; ++f) {
      fiber::go([&, f] {
        for (int i = 0; i < 200; ++i) {
          if (!mutex.try_lock_until(fiber::Clock::now() + std::chrono::microseconds(20 * (f % 4)))) continue;
          EXPECT_EQ(++inside, 1);
          ++entered;
          if (i % 8 == 0) fiber::sleep_for(10us);
          --inside;
          mutex.unlock();
        }
        all.done();
      });
    }
    all.wait();
    EXPECT_GT(entered, 0);
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  });
}

TEST_P(Sync, ConditionProducerConsumer) {
  run([] {
    fiber::Mutex mutex;
    fiber::Condition not_empty, not_full;
    std::deque<int> queue;
    long sum = 0;
    auto consumer = fiber::spawn([&] {
      for (int i = 0; i < 5000; ++i) {
        std::unique_lock lock(mutex);
        not_empty.wait(lock, [&] { return !queue.empty(); });
        sum += queue.front();
        queue.pop_front();
        not_full.notify_one();
      }
    });
    for (int i = 0; i < 5000; ++i) {
      std::unique_lock lock(mutex);
      not_full.wait(lock, [&] { return queue.size() < 3; });
      queue.push_back(i);
      not_empty.notify_one();
    }
    consumer.join();
    EXPECT_EQ(sum, 5000L * 4999 / 2);
  });
}

TEST_P(Sync, ConditionDeadlineAndNotifyAll) {
  run([] {
    fiber::Mutex mutex;
    fiber::Condition condition;
    {
      std::unique_lock lock(mutex);
      EXPECT_FALSE(condition.wait_until(lock, fiber::Clock::now() + 3ms));
      EXPECT_TRUE(lock.owns_lock());
    }
    bool go = false;
    int woken = 0;
    fiber::WaitGroup waiting(10), done(10);
    for (int i = 0; i < 10; ++i) {
      fiber::go([&] {
        {
          std::unique_lock lock(mutex);
          waiting.done();
          condition.wait(lock, [&] { return go; });
          ++woken;
        }
        done.done();
      });
    }
    waiting.wait();
    {
      std::unique_lock lock(mutex);
      go = true;
      condition.notify_all();
    }
    done.wait();
    EXPECT_EQ(woken, 10);
  });
}

TEST_P(Sync, WaitGroupMayBeDestroyedByItsWaiter) {
  run([] {
    for (int round = 0; round < 2000; ++round) {
      auto group = std::make_unique<fiber::WaitGroup>(2);
      fiber::WaitGroup* raw = group.get();
      fiber::go([raw] { raw->done(); });
      fiber::go([raw] { raw->done(); });
      group->wait();
      group.reset();
    }
  });
}

TEST_P(Sync, WaitGroupTokensAreDoneExactlyOnce) {
  run([] {
    fiber::WaitGroup group;
    fiber::WaitGroup::Token moved = group.token();
    {
      fiber::WaitGroup::Token token = group.token();
      fiber::WaitGroup::Token other = std::move(token);
      EXPECT_FALSE(token);
      EXPECT_TRUE(other);
      moved = std::move(other);
    }
    EXPECT_EQ(group.wait(0ms), fiber::Status::timed_out);
    moved.done();
    moved.done();
    group.wait();
    std::atomic<int> ended{0};
    for (int i = 0; i < 100; ++i) {
      fiber::go([&, i, token = group.token()] {
        if (i % 3 == 0) fiber::yield();
        ++ended;
      });
    }
    group.wait();
    EXPECT_EQ(ended, 100);
  });
}

TEST_P(Sync, ThreadsShareMutexesAndConditionsWithFibers) {
  run([] {
    fiber::Mutex mutex;
    fiber::Condition changed;
    constexpr int kThreads = 3, kFibers = 5, kEach = 300;
    long counter = 0;
    std::atomic<bool> watching{false};
    fiber::WaitGroup all(kThreads + kFibers);
    auto work = [&] {
      for (int i = 0; i < kEach; ++i) {
        std::lock_guard guard(mutex);
        EXPECT_NE(mutex.owner(), 0u);
        EXPECT_EQ(fiber::current_id() == 0, mutex.owner() >= 1ull << 63);
        ++counter;
        changed.notify_all();
      }
      all.done();
    };
    std::thread watcher([&] {
      std::unique_lock lock(mutex);
      EXPECT_EQ(changed.wait(lock, 0ms), fiber::Status::timed_out);
      watching = true;
      changed.wait(lock, [&] { return counter == (kThreads + kFibers) * kEach; });
    });
    while (!watching) fiber::yield();  // nobody notifies before
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) threads.emplace_back(work);
    for (int f = 0; f < kFibers; ++f) fiber::go(work);
    all.wait();
    fiber::blocking([&] {
      for (auto& thread : threads) thread.join();
      watcher.join();
    });
    EXPECT_EQ(counter, (kThreads + kFibers) * kEach);
  });
}

TEST_P(Sync, MutexHandsOverInOrderOfArrival) {
  run([] {
    fiber::Mutex mutex;
    std::vector<int> order;
    mutex.lock();
    fiber::WaitGroup all;
    for (int i = 0; i < 10; ++i) {
      fiber::go([&, i, token = all.token()] {
        std::lock_guard guard(mutex);
        order.push_back(i);
      });
      observe::await_parked(&mutex, static_cast<std::size_t>(i) + 1);
    }
    mutex.unlock();
    all.wait();
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
    EXPECT_EQ(order.size(), 10u);
  });
}

TEST_P(Sync, JoinReturnsResultsAndRethrows) {
  run([] {
    EXPECT_EQ(fiber::spawn([] { return std::string("result"); }).join(), "result");
    auto thrower = fiber::spawn([]() -> int { throw std::out_of_range("far"); });
    EXPECT_THROW(thrower.join(), std::out_of_range);
    std::vector<fiber::JoinHandle<int>> handles;
    for (int i = 0; i < 1000; ++i) handles.push_back(fiber::spawn([i] { return i; }));
    long sum = 0;
    for (auto& handle : handles) sum += handle.join();
    EXPECT_EQ(sum, 999 * 1000 / 2);
  });
}

TEST_P(Sync, ExceptionsSurviveParkingInsideCatch) {
  run([] {
    fiber::WaitGroup all(20);
    for (int f = 0; f < 20; ++f) {
      fiber::go([&, f] {
        for (int i = 0; i < 50; ++i) {
          try {
            throw f * 1000 + i;
          } catch (int value) {
            fiber::yield();
            if (i % 10 == 0) fiber::sleep_for(50us);
            EXPECT_EQ(value, f * 1000 + i);
            try {
              throw;  // the current exception is this fiber's own, wherever it runs now
            } catch (int again) {
              EXPECT_EQ(again, f * 1000 + i);
            }
          }
        }
        all.done();
      });
    }
    all.wait();
  });
}

TEST(SyncMisuse, EndsWithAMessageThatNamesFiberAndObject) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(fiber::run([] {
                 fiber::Mutex mutex;
                 mutex.lock();
                 fiber::spawn({.name = "thief"}, [&] { mutex.unlock(); }).join();
               }),
               "mutex 0x[0-9a-f]+ unlocked by somebody who does not hold it; its owner is fiber 1 \"main\" \\(fiber 2 "
               "\"thief\"\\)");
  EXPECT_DEATH(fiber::run([] {
                 fiber::Mutex mutex;
                 mutex.lock();
                 mutex.lock();
               }),
               "locked again by its owner");
  EXPECT_DEATH(fiber::run([] {
                 fiber::WaitGroup group;
                 group.done();
               }),
               "wait group 0x[0-9a-f]+ has seen more done\\(\\) than add\\(\\): its count would be -1 \\(fiber 1");
  EXPECT_DEATH(fiber::run([] { fiber::WaitGroup group(-3, "jobs"); }),
               "wait group 0x[0-9a-f]+ \"jobs\" made with a count of -3");
  EXPECT_DEATH(fiber::run([] {
                 fiber::WaitGroup group(1);
                 group.add(std::numeric_limits<std::int64_t>::max());
               }),
               "counts too much");
  EXPECT_DEATH(fiber::run([] {
                 fiber::Mutex mutex("accounts");
                 fiber::Channel<bool> locked;
                 std::thread thread([&] {
                   mutex.lock();
                   locked.send(true);
                 });
                 locked.receive();
                 mutex.unlock();
               }),
               "mutex 0x[0-9a-f]+ \"accounts\" unlocked by somebody who does not hold it; its owner is thread [0-9]+ "
               "\\(fiber 1");
  EXPECT_DEATH(fiber::Mutex().unlock(), "its owner is nobody \\(thread [0-9]+\\)");
  EXPECT_DEATH(fiber::run([] {
                 fiber::go({.name = "thrower"}, [] { throw std::runtime_error("oops"); });
                 fiber::sleep_for(10s);
               }),
               "an exception left the fiber: std::runtime_error: oops \\(fiber 2 \"thrower\"\\)");
}

// A barging mutex must still let everybody in: fibers that do nothing but lock and unlock against one that asks once.
TEST_P(Sync, AWaiterGetsTheMutexHoweverBusyOthersKeepIt) {
  run([] {
    fiber::Mutex mutex;
    std::atomic<bool> stop{false};
    fiber::WaitGroup done(4);
    for (int i = 0; i < 4; ++i) {
      fiber::go([&] {
        while (!stop) {
          mutex.lock();
          fiber::yield();  // held across a switch: others find it taken
          mutex.unlock();
        }
        done.done();
      });
    }
    for (int i = 0; i < 20; ++i) {
      std::lock_guard lock(mutex);
      fiber::yield();
    }
    stop = true;
    done.wait();
    EXPECT_EQ(mutex.owner(), 0u);
  });
}
