// SPDX-License-Identifier: BSD-2-Clause
// Who waits for itself, where the check of that is off, waits as for anybody else: tools see it, and a limit ends it.
#include <gtest/gtest.h>

#include "runtime/observe.h"
#include "runtime/on_processors.h"

namespace {

using namespace std::chrono_literals;

class SelfLock : public OnProcessors {
 protected:
  template <class F>
  void run_unchecked(F body) {
    fiber::run(fiber::Options{.processors = GetParam(), .self_lock_check = false}, body);
  }
};
INSTANTIATE_TEST_SUITE_P(Processors, SelfLock, testing::Values(1, 2));

TEST_P(SelfLock, WaitsUntilTheLimit) {
  run_unchecked([] {
    fiber::Mutex mutex;
    mutex.lock();
    EXPECT_EQ(mutex.lock(1ms), fiber::Status::timed_out);
    mutex.unlock();

    fiber::RwLock table;
    table.lock();
    EXPECT_EQ(table.lock(1ms), fiber::Status::timed_out);
    EXPECT_EQ(table.lock_shared(1ms), fiber::Status::timed_out);
    table.unlock();
    table.lock_shared();
    EXPECT_EQ(table.lock(1ms), fiber::Status::timed_out);
    table.unlock_shared();
    EXPECT_TRUE(table.try_lock());
    table.unlock();

    fiber::Once once;
    once.call([&] { EXPECT_EQ(once.call([] { ADD_FAILURE() << "ran twice"; }, 1ms), fiber::Status::timed_out); });
    EXPECT_TRUE(once.done());
  });
}

TEST_P(SelfLock, IsAWaitLikeAnyOther) {
  fiber::Mutex mutex;
  fiber::RwLock table;
  fiber::Once once;
  run_unchecked([&] {
    fiber::go([&] {
      mutex.lock();
      mutex.lock();
    });
    fiber::go([&] {
      table.lock_shared();
      table.lock();
    });
    fiber::go([&] { once.call([&] { once.call([] {}); }); });
    observe::await_parked(&mutex, 1);
    observe::await_parked(&table, 1);
    observe::await_parked(&once, 1);
    const std::uint64_t waiter = observe::parked_on(&mutex).front();
    EXPECT_EQ(OBSERVE(observe::address(&mutex), object, owner), OBSERVE(waiter, fiber, id));
  });
}

}  // namespace
