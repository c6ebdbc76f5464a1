// SPDX-License-Identifier: BSD-2-Clause
// A processor's queue as a whole: order for its owner, and every fiber taken once whoever takes it.
#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "registry/registry.h"
#include "sched/clock.h"
#include "sched/local_queue.h"

using namespace fiber::detail;

namespace {

// Fibers that are only ever queued, with a count of how often each was taken.
class Fibers {
 public:
  explicit Fibers(std::size_t count) : fibers_(new Fiber[count]), taken_(new std::atomic<int>[count]), count_(count) {
    for (std::size_t i = 0; i < count; ++i) {
      taken_[i] = 0;
      set_state(&fibers_[i], FIBERPROF_FIBER_RUNNABLE);  // since now: a run of an earlier test may have set the clock
    }
  }
  Fiber* operator[](std::size_t index) { return &fibers_[index]; }
  std::size_t index(const Fiber* fiber) const { return static_cast<std::size_t>(fiber - fibers_.get()); }
  void take(const Fiber* fiber) { ++taken_[index(fiber)]; }
  std::size_t size() const { return count_; }
  std::size_t taken_once() const {
    std::size_t once = 0;
    for (std::size_t i = 0; i < count_; ++i) once += taken_[i] == 1;
    return once;
  }

 private:
  std::unique_ptr<Fiber[]> fibers_;
  std::unique_ptr<std::atomic<int>[]> taken_;
  std::size_t count_;
};

}  // namespace

TEST(LocalQueue, RunsInTheOrderTheyBecameRunnableHoweverMany) {
  Fibers fibers(5'000);
  for (const bool thieves : {false, true}) {
    auto queue = std::make_unique<LocalQueue>();
    queue->reset(thieves);
    for (std::size_t i = 0; i < 3'000; ++i) queue->push_last(fibers[i]);
    for (std::size_t i = 0; i < 1'000; ++i) ASSERT_EQ(fibers.index(queue->pop()), i);
    for (std::size_t i = 3'000; i < 5'000; ++i) queue->push_last(fibers[i]);
    EXPECT_EQ(queue->size(), 4'000u);
    for (std::size_t i = 1'000; i < 5'000; ++i) ASSERT_EQ(fibers.index(queue->pop()), i);
    EXPECT_EQ(queue->pop(), nullptr);
    EXPECT_EQ(queue->size(), 0u);
  }
}

TEST(LocalQueue, TheNewestOfTheSpawnedGoesFirstAndOthersTakeTurnsWithThem) {
  Fibers fibers(8);
  LocalQueue queue;
  queue.reset(true);
  for (std::size_t i = 0; i < 4; ++i) queue.push_spawned(fibers[i]);
  for (std::size_t i = 4; i < 8; ++i) queue.push_last(fibers[i]);
  std::vector<std::size_t> order;
  while (const Fiber* fiber = queue.pop()) order.push_back(fibers.index(fiber));
  EXPECT_EQ(order, (std::vector<std::size_t>{3, 4, 2, 5, 1, 6, 0, 7}));
}

TEST(LocalQueue, AFiberReadiedByTheOneBeforeItRunsNextButNotForEver) {
  Fibers fibers(3);
  LocalQueue queue;
  queue.reset(true);
  queue.push_last(fibers[0]);
  queue.push_next(fibers[1]);
  EXPECT_EQ(queue.pop(), fibers[1]);
  int in_a_row = 1;
  queue.push_next(fibers[1]);
  while (queue.pop() == fibers[1]) {
    ++in_a_row;
    queue.push_next(fibers[1]);
    ASSERT_LT(in_a_row, 1'000);
  }
  EXPECT_EQ(queue.pop(), fibers[1]);
  queue.push_next(fibers[1]);
  queue.push_next(fibers[2]);
  EXPECT_EQ(queue.pop(), fibers[2]);
  EXPECT_EQ(queue.pop(), fibers[1]);
  EXPECT_EQ(queue.pop(), nullptr);
}

// What is given goes before what its new processor keeps waiting, and takes along since when it has waited.
TEST(LocalQueue, WhatIsSharedIsTheOldestAndGoesToTheFront) {
  constexpr std::size_t kRing = 256;
  Fibers fibers(2 * kRing + 30 + 20);
  auto from = std::make_unique<LocalQueue>(), to = std::make_unique<LocalQueue>();
  from->reset(true);
  to->reset(true);
  EXPECT_EQ(from->longest_wait(~std::uint64_t{0} - 1), 0u);
  std::size_t next = 0;
  for (std::size_t i = 0; i < kRing + 30; ++i) from->push_last(fibers[next++]);
  for (std::size_t i = 0; i < kRing + 20; ++i) to->push_last(fibers[next++]);
  const std::uint64_t later = now_ns() + 1'000'000;
  const std::uint64_t waited = from->longest_wait(later);
  EXPECT_GE(waited, 1'000'000u);
  EXPECT_LE(to->longest_wait(later), waited);

  from->share_backlog(*to, 10);
  EXPECT_EQ(to->longest_wait(later), waited);
  EXPECT_EQ(from->size(), kRing + 20);
  EXPECT_EQ(to->size(), kRing + 30);
  std::vector<std::size_t> order, expected;
  while (const Fiber* fiber = to->pop()) order.push_back(fibers.index(fiber));
  const std::size_t first = kRing + 30;  // of those `to` had
  for (std::size_t i = 0; i < kRing; ++i) expected.push_back(first + i);
  for (std::size_t i = 0; i < 10; ++i) expected.push_back(kRing + i);
  for (std::size_t i = 0; i < 20; ++i) expected.push_back(first + kRing + i);
  EXPECT_EQ(order, expected);
  for (std::size_t i = 0; i < kRing; ++i) EXPECT_EQ(from->pop(), fibers[i]);
  for (std::size_t i = kRing + 10; i < kRing + 30; ++i) EXPECT_EQ(from->pop(), fibers[i]);
  EXPECT_EQ(from->pop(), nullptr);
  EXPECT_EQ(from->longest_wait(later), 0u);
}

TEST(LocalQueue, WhoHasNoBacklogIsGivenNoMoreThanItsPart) {
  Fibers fibers(1'000);
  auto from = std::make_unique<LocalQueue>(), to = std::make_unique<LocalQueue>();
  from->reset(true);
  to->reset(true);
  for (std::size_t i = 0; i < 900; ++i) from->push_last(fibers[i]);
  for (std::size_t i = 900; i < 1'000; ++i) to->push_last(fibers[i]);
  from->share_backlog(*to, 1'000);
  EXPECT_EQ(from->size(), 500u);
  EXPECT_EQ(to->size(), 500u);
  to->share_backlog(*from, 1'000);  // all of its backlog: `from` keeps fibers waiting itself
  EXPECT_EQ(to->size(), 256u);
  for (std::size_t i = 900; i < 1'000; ++i) EXPECT_EQ(to->pop(), fibers[i]);
}

TEST(LocalQueue, OwnerAndThievesTakeEachFiberOnce) {
  asymmetric_init();
  Fibers fibers(400'000);
  auto queue = std::make_unique<LocalQueue>();
  queue->reset(true);
  std::atomic<bool> done{false};
  std::vector<std::thread> thieves;
  for (unsigned seed = 0; seed < 3; ++seed) {
    thieves.emplace_back([&, seed] {
      std::minstd_rand random(seed + 1);
      auto own = std::make_unique<LocalQueue>();
      own->reset(true);
      while (!done || queue->size() != 0) {
        const auto what = random() % 64;
        if (what == 1) queue->share_backlog(*own, 100);
        Fiber* fiber = what == 0 ? queue->steal_next() : what == 1 ? own->pop() : queue->steal_into(*own);
        if (fiber == nullptr) std::this_thread::yield();
        for (; fiber != nullptr; fiber = own->pop()) fibers.take(fiber);
      }
    });
  }
  std::minstd_rand random(7);
  for (std::size_t i = 0; i < fibers.size(); ++i) {
    switch (random() % 4) {
      case 0:
        queue->push_next(fibers[i]);
        break;
      case 1:
        queue->push_spawned(fibers[i]);
        break;
      default:
        queue->push_last(fibers[i]);
    }
    // In waves, so that ring, deque and backlog fill up and run empty.
    if (i / 4'000 % 2 == 1) {
      for (int k = 0; k < 2; ++k) {
        if (const Fiber* fiber = queue->pop()) fibers.take(fiber);
      }
    }
  }
  while (const Fiber* fiber = queue->pop()) fibers.take(fiber);
  done = true;
  for (std::thread& thief : thieves) thief.join();
  EXPECT_EQ(fibers.taken_once(), fibers.size());
}

TEST(LocalQueue, ASampleIsAnybodyWhoIsQueuedWithTheSameChance) {
  // One in `next`, 100 spawned, 256 in the ring, and a backlog whose front stands for it.
  Fibers fibers(1 + 100 + 256 + 1'000);
  auto queue = std::make_unique<LocalQueue>();
  queue->reset(true);
  std::uint64_t random = 7;
  EXPECT_EQ(queue->sample(random), nullptr);
  std::size_t used = 0;
  queue->push_next(fibers[used++]);
  EXPECT_EQ(queue->sample(12345), fibers[0]);
  for (int i = 0; i < 100; ++i) queue->push_spawned(fibers[used++]);
  for (int i = 0; i < 1'256; ++i) queue->push_last(fibers[used++]);
  ASSERT_EQ(queue->size(), fibers.size());

  constexpr int kSamples = 400'000;
  std::vector<int> count(fibers.size());
  std::mt19937_64 draw(random);
  for (int i = 0; i < kSamples; ++i) ++count[fibers.index(queue->sample(draw()))];
  const double expected = kSamples / static_cast<double>(fibers.size());
  const auto near = [&](std::size_t index, double mean) {
    EXPECT_NEAR(count[index], mean, 6 * std::sqrt(mean)) << index;
  };
  for (std::size_t i = 0; i < 1 + 100 + 256; ++i) near(i, expected);
  int backlog = 0;
  for (std::size_t i = 1 + 100 + 256; i < fibers.size(); ++i) backlog += count[i];
  EXPECT_NEAR(backlog, expected * 1'000, 6 * std::sqrt(expected * 1'000));
}
