// SPDX-License-Identifier: BSD-2-Clause
// Many random programs (program.h) on one, two and four processors, and under schedules drawn from a seed in simulated
// time. The environment:
//
//   FIBER_RANDOM_PROGRAMS=N   so many programs per number of processors instead of the usual few hundred (or, with
//                             ThreadSanitizer, thirty)
//   FIBER_RANDOM_SEED=S       starts at that seed; with FIBER_RANDOM_PROGRAMS=1 the one program of a failure
//
// A program that does not end within a minute is a failure: every fiber is printed with its stack, and the test aborts.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>
#include <thread>

#include "parked.h"
#include "program.h"
#include "sched/monitor.h"

using namespace std::chrono_literals;

namespace {

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// Aborts with a dump when a program takes too long.
class Watchdog {
 public:
  Watchdog(std::uint64_t seed, const std::string& where)
      : thread_([this, seed, where] {
          std::unique_lock lock(mutex_);
          if (ended_.wait_for(lock, 60s, [this] { return over_; })) return;
          std::fprintf(stderr, "the random program of seed %llu on %s hangs\n", static_cast<unsigned long long>(seed),
                       where.c_str());
          fiber::detail::report_all_asleep();
        }) {}
  ~Watchdog() {
    {
      std::lock_guard guard(mutex_);
      over_ = true;
    }
    ended_.notify_one();
    thread_.join();
  }

 private:
  std::mutex mutex_;
  std::condition_variable ended_;
  bool over_ = false;
  std::thread thread_;
};

std::string name(const random_program::Where& where) {
  return where.seeded ? "a_drawn_schedule" : std::to_string(where.processors) + "_processors";
}

class RandomPrograms : public testing::TestWithParam<random_program::Where> {};
INSTANTIATE_TEST_SUITE_P(On, RandomPrograms,
                         testing::Values(random_program::Where{1}, random_program::Where{2}, random_program::Where{4},
                                         random_program::Where{1, true}),
                         [](const auto& param) { return name(param.param); });

}  // namespace

TEST_P(RandomPrograms, DoWhatASequentialModelAllows) {
  const std::uint64_t first = from_environment("FIBER_RANDOM_SEED", 1);
  const std::uint64_t count = from_environment("FIBER_RANDOM_PROGRAMS", programs(300));
  std::uint64_t operations = 0;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    Watchdog watchdog(seed, name(GetParam()));
    const random_program::Outcome outcome = random_program::run_program(seed, GetParam());
    operations += outcome.operations;
    ASSERT_EQ(outcome.wrong, "") << "again: FIBER_RANDOM_SEED=" << seed << " FIBER_RANDOM_PROGRAMS=1, on "
                                 << name(GetParam());
  }
  std::printf("  %llu programs on %s, %llu operations\n", static_cast<unsigned long long>(count),
              name(GetParam()).c_str(), static_cast<unsigned long long>(operations));
}

TEST_P(RandomPrograms, SelectTakesEveryReadyArmItsFairShare) {
  fiber::run(fiber::Options{.processors = GetParam().processors, .seed = GetParam().seeded ? 1u : 0u}, [] {
    constexpr int kRounds = 12'000, kArms = 3;
    fiber::Channel<int> channels[kArms] = {fiber::Channel<int>(1), fiber::Channel<int>(1), fiber::Channel<int>(1)};
    int taken[kArms] = {};
    for (int i = 0; i < kRounds; ++i) {
      for (auto& channel : channels) channel.try_send(0);
      const auto count = [&](int arm) { return [&taken, arm](std::optional<int>) { ++taken[arm]; }; };
      fiber::select(fiber::on_receive(channels[0], count(0)), fiber::on_receive(channels[1], count(1)),
                    fiber::on_receive(channels[2], count(2)));
    }
    // A third each: eight standard deviations (52) away is no accident.
    for (const int share : taken) EXPECT_NEAR(share, kRounds / kArms, 8 * 52);
  });
}
