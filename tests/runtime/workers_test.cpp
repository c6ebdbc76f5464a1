// SPDX-License-Identifier: BSD-2-Clause
// Worker threads: how many there are, that they are used again, and what becomes of those a run leaves behind.
#include <fiber/all.h>
#include <fiberprof/registry.h>
#include <gtest/gtest.h>

#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>
#include <atomic>
#include <thread>

#include "registry/registry.h"

using namespace std::chrono_literals;

namespace {

std::size_t threads() {
  DIR* tasks = opendir("/proc/self/task");
  std::size_t count = 0;
  while (const dirent* entry = readdir(tasks)) count += entry->d_name[0] != '.';
  closedir(tasks);
  return count;
}

// A gate that blocks threads, not fibers.
struct Gate {
  std::atomic<int> waiting{0};
  std::atomic<bool> open{false};
  void pass() {
    ++waiting;
    while (!open) std::this_thread::sleep_for(1ms);
    --waiting;
  }
};

}  // namespace

TEST(Workers, IdleOnesAreBounded) {
  constexpr int kSections = 60;
  fiber::run(fiber::Options{.processors = 2}, [] {
    for (int round = 0; round < 3; ++round) {
      Gate gate;
      fiber::WaitGroup done(kSections);
      for (int i = 0; i < kSections; ++i) {
        fiber::go([&] {
          fiber::blocking([&] { gate.pass(); });
          done.done();
        });
      }
      while (gate.waiting != kSections) fiber::sleep_for(1ms);
      EXPECT_GE(threads(), static_cast<std::size_t>(kSections));
      gate.open = true;
      done.wait();
      // 2 processors, 8 spare workers, the monitor, this program's main thread, and what a sanitizer adds. Nothing
      // says when a thread is gone; without the bound this never ends.
      while (threads() > 14) fiber::sleep_for(1ms);
    }
  });
}

TEST(Workers, AndTheirSlotsAreUsedAgain) {
  const auto run_once = [] {
    fiber::run(fiber::Options{.processors = 4}, [] {
      fiber::WaitGroup done(4);
      for (int i = 0; i < 4; ++i) {
        fiber::go([&] {
          fiber::blocking([] { std::this_thread::sleep_for(1ms); });
          done.done();
        });
      }
      done.wait();
    });
  };
  for (int i = 0; i < 20; ++i) run_once();
  const std::uint32_t before = fiberprof_registry.worker_count;
  for (int i = 0; i < 100; ++i) run_once();
  // Never more at once than 4 that run fibers, 4 in sections and 8 spare.
  EXPECT_LE(fiberprof_registry.worker_count, std::max(before, 16u));
}

TEST(Workers, LeftBehindInASectionHarmNobody) {
  static Gate gate;  // outlives this test: the threads never leave it properly
  gate.open = false;
  std::atomic<bool> resumed{false};
  fiber::run(fiber::Options{.processors = 2}, [&] {
    for (int i = 0; i < 3; ++i) {
      fiber::go([&] {
        fiber::blocking([] { gate.pass(); });
        resumed = true;
      });
    }
    while (gate.waiting != 3) fiber::sleep_for(1ms);
  });
  // Some sections end between two runs, the rest inside one: their fibers belong to a run that is over.
  gate.open = true;
  while (gate.waiting != 0) std::this_thread::sleep_for(1ms);
  for (int i = 0; i < 10; ++i) {
    int sum = 0;
    fiber::run(fiber::Options{.processors = 2}, [&] {
      for (int k = 0; k < 100; ++k) sum += fiber::spawn([k] { return k; }).join();
    });
    EXPECT_EQ(sum, 4950);
  }
  EXPECT_FALSE(resumed);
}

TEST(Workers, TimersAndSleepersOfAnEarlierRunStayThere) {
  static std::atomic<bool> woke{false};
  fiber::run(fiber::Options{.processors = 2}, [] {
    for (int i = 0; i < 50; ++i) {
      fiber::go([] {
        fiber::sleep_for(20ms);
        woke = true;
      });
    }
    fiber::yield();
  });
  const bool woke_in_time = woke;  // a slow machine may have let 20 ms pass before main ended
  fiber::run(fiber::Options{.processors = 2}, [] { fiber::sleep_for(60ms); });
  EXPECT_EQ(woke, woke_in_time);
}

TEST(Workers, AForkedChildRunsOnItsOwnAndLeavesTheParentItsWakeUps) {
  const auto run_once = [] {
    fiber::run(fiber::Options{.processors = 2}, [] {
      fiber::Channel<int> channel;
      // A thread sends while every worker sleeps: that takes the poller's wake-up.
      for (int i = 0; i < 20; ++i) {
        std::thread sender([=]() mutable {
          std::this_thread::sleep_for(1ms);
          channel.send(i);
        });
        EXPECT_EQ(channel.receive(), i);
        fiber::blocking([&] { sender.join(); });
      }
    });
  };
  run_once();
  const pid_t child = fork();
  if (child == 0) {
    alarm(30);
    run_once();
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  for (int i = 0; i < 5; ++i) run_once();
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}
