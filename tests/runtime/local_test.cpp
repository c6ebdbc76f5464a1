// SPDX-License-Identifier: BSD-2-Clause
// Fiber-local values.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "on_processors.h"

namespace {

class Locals : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, Locals, testing::Values(1u, 2u, 4u));

struct Counted {
  static inline std::atomic<int> alive{0};
  Counted() { ++alive; }
  ~Counted() { --alive; }
  int value = 0;
};

}  // namespace

TEST_P(Locals, EachFiberHasItsOwnWhereverItRuns) {
  run([] {
    fiber::Local<int> number;
    fiber::Local<std::string> text([] { return std::string("fresh"); });
    fiber::WaitGroup all;
    for (int f = 0; f < 50; ++f) {
      fiber::go([&, f, token = all.token()] {
        EXPECT_FALSE(number.has_value());
        EXPECT_EQ(*text, "fresh");
        *text = std::to_string(f);
        for (int i = 0; i < 100; ++i) {
          EXPECT_EQ(*number, i);
          ++*number;
          fiber::yield();
        }
        EXPECT_EQ(*text, std::to_string(f));
        EXPECT_EQ(text->size(), std::to_string(f).size());
      });
    }
    all.wait();
    EXPECT_EQ(*number, 0);
  });
}

TEST_P(Locals, AreDestroyedBeforeTheJoinReturnsAndMayWaitInTheirDestructors) {
  struct Slow {
    ~Slow() {
      fiber::yield();
      ++*destroyed;
    }
    std::atomic<int>* destroyed = nullptr;
  };
  run([] {
    fiber::Local<Slow> slow;
    std::atomic<int> destroyed{0};
    for (int i = 0; i < 20; ++i) fiber::spawn([&] { slow->destroyed = &destroyed; }).join();
    EXPECT_EQ(destroyed, 20);
    // A fiber that runs on the same slot later starts without.
    EXPECT_FALSE(fiber::spawn([&] { return slow.has_value(); }).join());
  });
}

TEST_P(Locals, ResetAndReplacementDestroy) {
  run([] {
    const int before = Counted::alive;
    fiber::Local<Counted> counted;
    counted->value = 5;
    EXPECT_EQ(Counted::alive, before + 1);
    counted.reset();
    EXPECT_EQ(Counted::alive, before);
    EXPECT_EQ(counted->value, 0);
    counted.reset();
  });
}

TEST_P(Locals, AKeyUsedAgainDoesNotFindOldValues) {
  run([] {
    const int before = Counted::alive;
    fiber::spawn([before] {
      std::optional<fiber::Local<Counted>> counted;
      counted.emplace();
      (*counted)->value = 7;
      for (int i = 0; i < 1000; ++i) {
        counted.emplace();
        EXPECT_FALSE(counted->has_value());
        EXPECT_EQ((*counted)->value, 0);
        (*counted)->value = 7;
      }
      EXPECT_GT(Counted::alive, before);
    }).join();
    EXPECT_EQ(Counted::alive, before);
  });
}

TEST_P(Locals, ThreadsHaveTheirOwn) {
  static fiber::Local<Counted> counted;
  run([] {
    const int before = Counted::alive;
    counted->value = 1;
    std::thread([&] {
      EXPECT_FALSE(counted.has_value());
      counted->value = 2;
      EXPECT_EQ(Counted::alive, before + 2);
    }).join();
    EXPECT_EQ(Counted::alive, before + 1);
    EXPECT_EQ(counted->value, 1);
    counted.reset();
  });
}

TEST_P(Locals, DestructorsMayMakeOthers) {
  struct Chain {
    explicit Chain(fiber::Local<Counted>* next) : other(next) {}
    ~Chain() { (*other)->value = 1; }
    fiber::Local<Counted>* other;
  };
  run([] {
    const int before = Counted::alive;
    fiber::Local<Counted> counted;
    fiber::Local<std::unique_ptr<Chain>> chain([&] { return std::make_unique<Chain>(&counted); });
    fiber::spawn([&] { EXPECT_NE(*chain, nullptr); }).join();
    EXPECT_EQ(Counted::alive, before);
  });
}

TEST(LocalsMisuse, TooMany) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      {
        std::vector<std::unique_ptr<fiber::Local<int>>> many;
        for (int i = 0; i < 300; ++i) many.push_back(std::make_unique<fiber::Local<int>>());
      },
      "more than 256 fiber::Local objects at a time");
}
