// SPDX-License-Identifier: BSD-2-Clause
// The explorer itself: the classic litmus tests have exactly the outcomes that C++20 gives them (short of what
// explorer.h says is not modelled), and each kind of failure is found and can be replayed.
#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "explorer.h"
#include "report.h"

namespace {

using namespace model;
using Outcomes = std::set<std::pair<int, int>>;

constexpr auto kRelaxed = std::memory_order_relaxed, kAcquire = std::memory_order_acquire,
               kRelease = std::memory_order_release, kSeqCst = std::memory_order_seq_cst;

struct Litmus {
  Atomic<int> x, y;
  int first = -1, second = -1;  // each written by one thread from what it has read
};

template <class A, class B, class C>
Outcomes outcomes(A a, B b, C c) {
  Outcomes seen;
  const Result result = explore({.name = "litmus"}, [&](Scenario& run) {
    Litmus& state = run.make<Litmus>();
    run.thread("a", [&] { a(state); });
    run.thread("b", [&] { b(state); });
    run.thread("c", [&] { c(state); });
    run.at_end([&] { seen.emplace(state.first, state.second); });
  });
  EXPECT_FALSE(result.failed) << result.message;
  EXPECT_TRUE(result.exhausted);
  return seen;
}
template <class A, class B>
Outcomes outcomes(A a, B b) {
  return outcomes(a, b, [](Litmus&) {});
}

// Each thread stores to one and loads the other: did both miss the other's store?
Outcomes store_buffering(std::memory_order stores, std::memory_order loads, bool fences) {
  return outcomes(
      [=](Litmus& at) {
        at.x.store(1, stores);
        if (fences) Atomics::fence(kSeqCst);
        at.first = at.y.load(loads);
      },
      [=](Litmus& at) {
        at.y.store(1, stores);
        if (fences) Atomics::fence(kSeqCst);
        at.second = at.x.load(loads);
      });
}

// One thread stores data, then a flag; the other loads the flag, then the data.
Outcomes message_passing(std::memory_order stores, std::memory_order loads) {
  return outcomes(
      [=](Litmus& at) {
        at.x.store(1, kRelaxed);
        at.y.store(1, stores);
      },
      [=](Litmus& at) {
        at.first = at.y.load(loads);
        at.second = at.x.load(kRelaxed);
      });
}

}  // namespace

TEST(Explorer, StoreBuffering) {
  const Outcomes all = {{0, 0}, {0, 1}, {1, 0}, {1, 1}}, ordered = {{0, 1}, {1, 0}, {1, 1}};
  EXPECT_EQ(store_buffering(kRelaxed, kRelaxed, false), all);
  EXPECT_EQ(store_buffering(kRelease, kAcquire, false), all);
  EXPECT_EQ(store_buffering(kSeqCst, kAcquire, false), all);
  EXPECT_EQ(store_buffering(kSeqCst, kSeqCst, false), ordered);
  EXPECT_EQ(store_buffering(kRelaxed, kRelaxed, true), ordered);
}

TEST(Explorer, MessagePassing) {
  const Outcomes all = {{0, 0}, {0, 1}, {1, 0}, {1, 1}}, ordered = {{0, 0}, {0, 1}, {1, 1}};
  EXPECT_EQ(message_passing(kRelaxed, kRelaxed), all);
  EXPECT_EQ(message_passing(kRelease, kRelaxed), all);
  EXPECT_EQ(message_passing(kRelaxed, kAcquire), all);
  EXPECT_EQ(message_passing(kRelease, kAcquire), ordered);
}

TEST(Explorer, FencesPassMessagesToo) {
  const Outcomes seen = outcomes(
      [](Litmus& at) {
        at.x.store(1, kRelaxed);
        Atomics::fence(kRelease);
        at.y.store(1, kRelaxed);
      },
      [](Litmus& at) {
        at.first = at.y.load(kRelaxed);
        Atomics::fence(kAcquire);
        at.second = at.x.load(kRelaxed);
      });
  EXPECT_EQ(seen, (Outcomes{{0, 0}, {0, 1}, {1, 1}}));
}

TEST(Explorer, AReadModifyWriteContinuesAReleaseSequence) {
  const Outcomes seen = outcomes(
      [](Litmus& at) {
        at.x.store(1, kRelaxed);
        at.y.store(1, kRelease);
      },
      [](Litmus& at) { at.y.fetch_add(1, kRelaxed); },
      [](Litmus& at) {
        at.first = at.y.load(kAcquire);
        at.second = at.x.load(kRelaxed);
      });
  EXPECT_TRUE(seen.contains({2, 1}));
  // 1 may be the addition alone, which knows nothing of x.
  EXPECT_TRUE(seen.contains({1, 0}));
  EXPECT_FALSE(seen.contains({2, 0}));
}

TEST(Explorer, ALocationIsCoherent) {
  const Outcomes seen = outcomes(
      [](Litmus& at) {
        at.x.store(1, kRelaxed);
        at.x.store(2, kRelaxed);
      },
      [](Litmus& at) {
        at.first = at.x.load(kRelaxed);
        at.second = at.x.load(kRelaxed);
      });
  EXPECT_EQ(seen, (Outcomes{{0, 0}, {0, 1}, {0, 2}, {1, 1}, {1, 2}, {2, 2}}));
}

TEST(Explorer, FindsALostUpdate) {
  const auto counting = [](Mutation mutation) {
    return explore({.name = "count", .mutation = mutation}, [](Scenario& run) {
      auto& count = run.make<Atomic<int>>();
      for (const char* name : {"a", "b", "c"}) run.thread(name, [&] { count.fetch_add(1, kRelaxed); });
      run.at_end([&] { check(count.load() == 3, "an update was lost"); });
    });
  };
  expect_holds("count", counting(Mutation::none));
  expect_found("count, split", counting(Mutation::split_rmw), "an update was lost");
}

TEST(Explorer, FindsDeadlocksRacesLifetimesAndCircles) {
  struct Two {
    Lock first, second;
  };
  expect_found("locks in two orders",
               explore({.name = "deadlock"},
                       [](Scenario& run) {
                         Two& locks = run.make<Two>();
                         const auto take = [](Lock& a, Lock& b) {
                           a.lock();
                           b.lock();
                           b.unlock();
                           a.unlock();
                         };
                         run.thread("ab", [&, take] { take(locks.first, locks.second); });
                         run.thread("ba", [&, take] { take(locks.second, locks.first); });
                       }),
               "deadlock: ab waits for a lock; ba waits for a lock;");
  struct Message {
    Plain<int> data;
    Atomic<bool> flag;
  };
  const auto pass = [](std::memory_order store) {
    return explore({.name = "race"}, [=](Scenario& run) {
      Message& message = run.make<Message>();
      run.thread("writer", [&, store] {
        message.data.set(1);
        message.flag.store(true, store);
      });
      run.thread("reader", [&] {
        if (message.flag.load(kAcquire)) check(message.data.get() == 1, "old data");
      });
    });
  };
  expect_holds("message", pass(kRelease));
  expect_found("message, relaxed", pass(kRelaxed), "a data race");
  expect_found("a dead variable",
               explore({.name = "lifetime"},
                       [](Scenario& run) {
                         auto& pointer = run.make<Atomic<Atomic<int>*>>();
                         run.thread("owner", [&] {
                           Atomic<int> variable(0);
                           pointer.store(&variable);
                         });
                         run.thread("user", [&] {
                           if (Atomic<int>* variable = pointer.load()) variable->store(1);
                         });
                       }),
               "after its end of life");
  expect_found("a circle",
               explore({.name = "circle"},
                       [](Scenario& run) {
                         auto& flag = run.make<Atomic<bool>>();
                         run.thread("spinner", [&] {
                           while (!flag.load()) {
                           }
                         });
                       }),
               "round in circles");
}

TEST(Explorer, AReplayFailsTheSameWay) {
  const auto racing = [] {
    return explore({.name = "replayed"}, [](Scenario& run) {
      auto& count = run.make<Atomic<int>>();
      for (const char* name : {"a", "b"}) run.thread(name, [&] { count.store(count.load() + 1); });
      run.at_end([&] { check(count.load() == 2, "an update was lost"); });
    });
  };
  const Result found = racing();
  ASSERT_TRUE(found.failed);
  ASSERT_NE(found.message.find("FIBER_MODEL_REPLAY=replayed:" + found.replay), std::string::npos);
  setenv("FIBER_MODEL_REPLAY", ("replayed:" + found.replay).c_str(), 1);
  const Result again = racing();
  unsetenv("FIBER_MODEL_REPLAY");
  EXPECT_TRUE(again.failed);
  EXPECT_EQ(again.message.find("an update was lost"), 0u) << again.message;
  EXPECT_NE(again.message.find("store"), std::string::npos);
}
