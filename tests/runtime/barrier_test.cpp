// SPDX-License-Identifier: BSD-2-Clause
// Barrier: rounds, limits, misuse.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "observe.h"
#include "on_processors.h"

using namespace std::chrono_literals;
using fiber::Status;

namespace {

class Barriers : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, Barriers, testing::Values(1u, 2u, 4u));

}  // namespace

TEST_P(Barriers, RoundsDoNotMix) {
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

TEST_P(Barriers, ArrivalIsWithdrawnWhenItsLimitComesFirst) {
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

TEST_P(Barriers, LimitsRacingWithTheLastArrivalAgree) {
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

TEST(Barriers, MisuseEndsTheProcess) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(fiber::Barrier(0), "barrier 0x[0-9a-f]+ made for a number of parties of 0");
  EXPECT_DEATH(fiber::Barrier(-2, "start"), "\"start\" made for a number of parties of -2");
}
