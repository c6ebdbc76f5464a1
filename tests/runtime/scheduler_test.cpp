// SPDX-License-Identifier: BSD-2-Clause
#include <fiber/all.h>
#include <fiberprof/registry.h>
#include <gtest/gtest.h>

#include <unistd.h>
#include <algorithm>
#include <cstring>
#include <set>
#include <thread>

#include "on_processors.h"
#include "registry/registry.h"
#include "runtime/scale.h"
#include "sched/run_queue.h"
#include "sched/scheduler.h"
#include "support/command.h"

using namespace std::chrono_literals;

namespace {

class Scheduling : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, Scheduling, testing::Values(1u, 2u, 4u));

}  // namespace

TEST_P(Scheduling, RunsAgainAndAgain) {
  for (int i = 0; i < 50; ++i) {
    int result = 0;
    run([&] { result = fiber::spawn([] { return 42; }).join(); });
    EXPECT_EQ(result, 42);
    EXPECT_EQ(fiber::processor_count(), 0u);
  }
}

TEST_P(Scheduling, ManyFibersAllRunAndIdsAreNeverReused) {
  run([] {
    constexpr int kFibers = fibers_at_once(20'000);
    std::atomic<int> ran{0};
    fiber::WaitGroup all(kFibers);
    std::vector<std::uint64_t> ids(kFibers);
    for (int i = 0; i < kFibers; ++i) {
      fiber::go([&, i] {
        ids[static_cast<std::size_t>(i)] = fiber::current_id();
        ++ran;
        all.done();
      });
    }
    all.wait();
    EXPECT_EQ(ran, kFibers);
    EXPECT_EQ(std::set<std::uint64_t>(ids.begin(), ids.end()).size(), static_cast<std::size_t>(kFibers));
  });
}

TEST_P(Scheduling, TwoFibersThatWakeEachOtherDoNotStarveAThird) {
  run([] {
    fiber::Channel<int> there, back;
    std::atomic<bool> stop{false};
    auto echo = fiber::spawn([&] {
      while (auto value = there.receive()) back.send(*value);
    });
    auto player = fiber::spawn([&] {
      long rounds = 0;
      while (!stop) {
        there.send(1);
        back.receive();
        ++rounds;
      }
      there.close();
      return rounds;
    });
    // Runnable all the time; must get its turns although the other two are always readied last.
    for (int i = 0; i < 1000; ++i) fiber::yield();
    stop = true;
    EXPECT_GT(player.join(), 0);
    echo.join();
  });
}

TEST_P(Scheduling, SleepersWakeInOrderAndNotEarly) {
  run([this] {
    std::vector<int> order;
    fiber::Mutex mutex;
    fiber::WaitGroup all(5);
    for (int i : {5, 1, 4, 2, 3}) {
      fiber::go([&, i] {
        const auto start = fiber::Clock::now();
        fiber::sleep_for(std::chrono::milliseconds(20 * i));
        EXPECT_GE(fiber::Clock::now() - start, std::chrono::milliseconds(20 * i));
        {
          std::lock_guard guard(mutex);
          order.push_back(i);
        }
        all.done();
      });
    }
    all.wait();
    // On several, the thread that was to run one of them may be kept waiting by the system.
    if (GetParam() != 1) std::sort(order.begin(), order.end());
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3, 4, 5}));
  });
}

TEST_P(Scheduling, TimersFireWhileOthersKeepTheProcessorsBusy) {
  run([] {
    std::atomic<bool> stop{false};
    fiber::WaitGroup spinners(4);
    for (int i = 0; i < 4; ++i) {
      fiber::go([&] {
        while (!stop) fiber::yield();
        spinners.done();
      });
    }
    fiber::sleep_for(5ms);
    stop = true;
    spinners.wait();
  });
}

TEST_P(Scheduling, SomebodyAlwaysLooksAfterTimers) {
  // Short bursts of work between short sleeps: workers enter and leave epoll all the time. If the last one to leave
  // it sleeps on a futex, the next timer never fires and this hangs.
  run([] {
    fiber::Channel<int> there, back;
    auto echo = fiber::spawn([&] {
      while (auto value = there.receive()) back.send(*value);
    });
    for (int i = 0; i < rounds(200'000); ++i) {
      there.send(i);
      EXPECT_EQ(back.receive(), i);
      if (i % 64 == 0) fiber::sleep_for(50us);
    }
    there.close();
    echo.join();
  });
}

TEST_P(Scheduling, ABlockingSectionDoesNotHoldUpOtherFibers) {
  run([] {
    int pipe_ends[2];
    ASSERT_EQ(pipe(pipe_ends), 0);
    std::atomic<int> progress{0};
    auto blocked = fiber::spawn([&] {
      char byte;
      return fiber::blocking([&] { return read(pipe_ends[0], &byte, 1); });
    });
    // On one processor this loop runs only if the monitor takes the processor away from the reader's thread.
    for (int i = 0; i < 100; ++i) {
      ++progress;
      fiber::sleep_for(100us);
    }
    EXPECT_EQ(progress, 100);
    ASSERT_EQ(write(pipe_ends[1], "x", 1), 1);
    EXPECT_EQ(blocked.join(), 1);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
  });
}

TEST_P(Scheduling, ManyBlockingSectionsAtOnce) {
  run([] {
    std::atomic<int> done{0};
    fiber::WaitGroup all(40);
    for (int i = 0; i < 40; ++i) {
      fiber::go([&, i] {
        for (int k = 0; k < 5; ++k) {
          fiber::blocking([&] { usleep(static_cast<useconds_t>(300 * (i % 5))); });
          fiber::yield();
        }
        ++done;
        all.done();
      });
    }
    all.wait();
    EXPECT_EQ(done, 40);
  });
}

TEST_P(Scheduling, ForeignThreadsSpawn) {
  run([] {
    std::atomic<int> ran{0};
    fiber::WaitGroup all(400);
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 100; ++i) {
          fiber::go([&] {
            ++ran;
            all.done();
          });
        }
      });
    }
    all.wait();
    fiber::blocking([&] {
      for (auto& thread : threads) thread.join();
    });
    EXPECT_EQ(ran, 400);
  });
}

TEST_P(Scheduling, ReturnsThoughFibersWaitForEverOrSitInBlockingSections) {
  run([] {
    for (int i = 0; i < 10; ++i) fiber::go([] { fiber::Channel<int>().receive(); });
    fiber::go([] { fiber::blocking([] { sleep(1); }); });
    fiber::sleep_for(5ms);
  });
}

TEST(Options, NonsenseIsRefusedWithAMessage) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  auto exits = testing::ExitedWithCode(2);
  EXPECT_EXIT(fiber::run(fiber::Options{.processors = 100'000}, [] {}), exits, "Options::processors is '100000'");
  EXPECT_EXIT(fiber::run(fiber::Options{.stack_size = 1}, [] {}), exits, "Options::stack_size is '1'");
  EXPECT_EXIT(fiber::run(fiber::Options{.busy_poll = -1ns}, [] {}), exits, "Options::busy_poll is '-1'");
  EXPECT_EXIT(fiber::run(fiber::Options{.busy_poll = 11ms}, [] {}), exits, "Options::busy_poll is '11000000'");
  for (const char* value : {"0", "-1", "two", "4096", "1e3", "99999999999999999999"}) {
    EXPECT_EXIT((setenv("FIBER_PROCS", value, 1), fiber::run([] {})), exits, "FIBER_PROCS is '") << value;
  }
  EXPECT_EXIT((setenv("FIBER_STACK_SIZE", "12k", 1), fiber::run([] {})), exits, "FIBER_STACK_SIZE is '12k'");
  EXPECT_DEATH(fiber::go([] {}), "the runtime is not running");
}

TEST(Registry, TellsWhatEachFiberDoes) {
  fiber::run(fiber::Options{.processors = 2}, [] {
    fiber::Channel<int> channel;
    std::uint64_t id = 0;
    auto waiter = fiber::spawn({.name = "registry test"}, [&] {
      id = fiber::current_id();
      channel.receive();
    });
    const fiberprof_fiber* found = nullptr;
    while (found == nullptr || found->state != FIBERPROF_FIBER_PARKED) {
      fiber::yield();
      fiber::detail::registry_for_each([&](fiber::detail::Fiber* fiber) {
        if (id != 0 && fiber->record.id == id) found = &fiber->record;
      });
    }
    EXPECT_EQ(found->reason, FIBERPROF_REASON_CHAN_RECV);
    EXPECT_EQ(found->resource, reinterpret_cast<std::uint64_t>(channel.core()));
    EXPECT_STREQ(found->name, "registry test");
    EXPECT_EQ(found->parent, fiber::current_id());
    EXPECT_GT(found->sp, found->stack_low);
    EXPECT_LT(found->sp, found->stack_high);
    // One word starts a frame-pointer walk, and it ends at zero.
    std::uint64_t frame = found->sp;
    int frames = 0;
    while (frame != 0 && frames < 50) {
      ASSERT_GE(frame, found->stack_low);
      ASSERT_LT(frame, found->stack_high);
      frame = reinterpret_cast<const std::uint64_t*>(frame)[0];
      ++frames;
    }
    EXPECT_EQ(frame, 0u);
    EXPECT_GE(frames, 5);
    EXPECT_EQ(found->sequence % 2, 0u);
    channel.send(1);
    waiter.join();
  });
}

TEST(RunQueue, ThievesAndOwnerTakeEachFiberOnce) {
  using namespace fiber::detail;
  constexpr std::uint64_t kTotal = 200'000;
  std::vector<Fiber> fibers(1000);
  std::vector<std::atomic<int>> taken(fibers.size());
  RunQueue queue;
  std::atomic<bool> stop{false};
  auto take = [&](Fiber* fiber) { ++taken[static_cast<std::size_t>(fiber - fibers.data())]; };
  std::vector<std::thread> thieves;
  for (int t = 0; t < 2; ++t) {
    thieves.emplace_back([&] {
      RunQueue own;
      while (!stop) {
        if (Fiber* first = queue.steal_into(own)) {
          take(first);
          while (Fiber* more = own.pop()) take(more);
        }
      }
    });
  }
  std::vector<int> pushed(fibers.size());
  for (std::uint64_t i = 0; i < kTotal; ++i) {
    const std::size_t index = i % fibers.size();
    while (!queue.push(&fibers[index])) {
      if (Fiber* fiber = queue.pop()) take(fiber);
    }
    ++pushed[index];
    if (i % 3 == 0) {
      if (Fiber* fiber = queue.pop()) take(fiber);
    }
  }
  while (Fiber* fiber = queue.pop()) take(fiber);
  stop = true;
  for (auto& thief : thieves) thief.join();
  for (std::size_t i = 0; i < fibers.size(); ++i) EXPECT_EQ(taken[i], pushed[i]);
}

// Who yields has the processor until the next one does; a look from outside must not take it for one that waits,
// however often it yields. Within a yield there is a moment at which neither is queued. Looks are spread over many of
// them: a worker that the kernel preempts just then stays there for thousands of looks.
TEST(QueueDepth, IsThatOfTheOthers) {
  for (const int fibers : {1, 2, 8}) {
    SCOPED_TRACE(fibers);
    fiber::run(fiber::Options{.processors = 1}, [&] {
      std::atomic<bool> stop{false};
      std::atomic<int> ready{0};
      std::atomic<std::uint64_t> yields{0};
      fiber::WaitGroup all(fibers);
      for (int i = 0; i < fibers; ++i) {
        fiber::go([&] {
          ++ready;
          while (!stop) {
            yields.store(yields.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
            fiber::yield();
          }
          all.done();
        });
      }
      double mean = 0;
      std::thread watcher([&] {
        while (ready != fibers) std::this_thread::yield();
        constexpr int kTimes = 100, kLooks = 100;
        std::uint64_t sum = 0;
        for (int i = 0; i < kTimes; ++i) {
          const std::uint64_t before = yields;
          while (yields - before < kLooks) std::this_thread::yield();
          for (int look = 0; look < kLooks; ++look) sum += fiber::detail::Scheduler::instance().processor(0).depth();
        }
        mean = static_cast<double>(sum) / (kTimes * kLooks);
        stop = true;
      });
      all.wait();
      watcher.join();
      EXPECT_NEAR(mean, fibers - 1, 0.3);
    });
  }
}

// A fiber that is made runnable by one that computes on waits for it on its own processor, and while waking somebody
// for such a fiber has been in vain lately, nobody is woken. It must not stay there while processors are idle.
TEST(SkippedWakes, AFiberReadiedByOneThatComputesOnRunsElsewhere) {
  fiber::run(fiber::Options{.processors = 4}, [] {
    using namespace fiber::detail;
    Scheduler& scheduler = Scheduler::instance();
    fiber::Channel<int> there, back, work;
    auto echo = fiber::spawn([&] {
      while (auto value = there.receive()) back.send(*value);
    });
    std::atomic<bool> ran{false};
    auto worker = fiber::spawn([&] {
      while (auto value = work.receive()) ran = *value == 1;
    });
    // All processors are busy at the same time, so that nobody is looking for work, and then three fall asleep: one
    // worker in epoll, two not.
    std::atomic<int> begun{0};
    for (int i = 0; i < 3; ++i) {
      fiber::go([&] {
        ++begun;
        while (begun < 3) {
        }
      });
    }
    while (begun < 3 || scheduler.idle_processors() < 3 || scheduler.poller().turn.sleeps_until() == 0) {
    }
    // Wake-ups in vain, until some are skipped.
    for (int i = 0; this_worker()->local->wakes_to_skip < 2; ++i) {
      work.send(0);
      there.send(i);
      back.receive();
    }
    work.send(1);
    const auto start = std::chrono::steady_clock::now();
    while (!ran && std::chrono::steady_clock::now() - start < 20s) {
    }
    EXPECT_TRUE(ran);
    work.close();
    worker.join();
    there.close();
    echo.join();
  });
}
