// SPDX-License-Identifier: BSD-2-Clause
// What the runtime says of a wait that ends while the sampled tier is attached: whether its length was measured.
#include <fiber/all.h>
#include <fiberprof/probes.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>

#include "registry/registry.h"
#include "sched/fiber.h"
#include "sched/this_worker.h"

using namespace std::chrono_literals;

namespace {

class Attached {
 public:
  Attached() { ++semaphore(); }
  ~Attached() { --semaphore(); }

 private:
  static std::uint16_t& semaphore() { return const_cast<std::uint16_t&>(fiber_blocked_sampled_semaphore); }
};

TEST(RoughWaits, AreThoseWhoseBeginningNobodyLookedAt) {
  fiber::run(fiber::Options{.processors = 1}, [] {
    const Attached attached;
    fiber::Channel<int> channel, ping, pong;
    fiber::detail::Fiber* fiber = nullptr;
    auto waiter = fiber::spawn([&] {
      fiber = fiber::detail::this_fiber();
      while (channel.receive()) {
      }
    });
    // Readied, and not yet run: what is to be said of its wait is known.
    const auto timing_of_wait = [&] {
      fiber::yield();  // now it waits
      const std::uint64_t clock = fiber::detail::coarse_clock();
      while (fiber::detail::coarse_clock() == clock) fiber::sleep_for(2ms);
      fiber::sleep_for(5ms);
      channel.send(1);
      return fiber->timing;
    };
    timing_of_wait();  // the processor notices that somebody has attached

    for (int i = 0; i < 5; ++i) {
      const auto timing = timing_of_wait();
      EXPECT_EQ(timing.weight, 1u) << "there is room for every wait";
      EXPECT_EQ(timing.parked_ns & FIBERPROF_PARKED_ROUGH, 0u);
      EXPECT_GE(timing.parked_ns, 4'900'000u);
    }

    auto echo = fiber::spawn([&] {
      while (auto value = ping.receive()) pong.send(*value);
    });
    const auto end = std::chrono::steady_clock::now() + 300ms;
    while (std::chrono::steady_clock::now() < end) {
      ping.send(1);
      pong.receive();
    }
    int rough = 0;
    for (int i = 0; i < 20; ++i) {
      const auto timing = timing_of_wait();
      EXPECT_NE(timing.weight, 0u) << "so long a wait is always told of";
      EXPECT_EQ(timing.parked_ns & FIBERPROF_PARKED_ROUGH, timing.parked_at == 0 ? FIBERPROF_PARKED_ROUGH : 0u);
      rough += timing.parked_at == 0;
    }
    EXPECT_GE(rough, 10) << "one of hundreds is drawn";
    ping.close();
    channel.close();
    echo.join();
    waiter.join();
  });
}

}  // namespace
