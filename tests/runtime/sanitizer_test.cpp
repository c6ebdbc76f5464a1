// SPDX-License-Identifier: BSD-2-Clause
// That the sanitizers see fibers: each finds the bug put into a fiber, and nothing in the same program without it. In
// other builds there is nothing to test.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <stdexcept>

#include "context/sanitizer.h"

namespace {

#if FIBER_TSAN

// Two fibers that are on two workers at the same time, ordered by nothing, do `each` to one variable.
template <class Each>
void two_at_once(const Each& each) {
  fiber::run(fiber::Options{.processors = 2}, [&] {
    std::atomic<int> there{0};
    int value = 0;
    const auto body = [&] {
      there.fetch_add(1, std::memory_order_relaxed);
      while (there.load(std::memory_order_relaxed) != 2) {
      }
      each(value);
    };
    auto other = fiber::spawn(body);
    body();
    other.join();
  });
  std::exit(0);
}

TEST(ThreadSanitizer, SeesARaceOfTwoFibers) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(two_at_once([](int& value) { ++value; }), testing::ExitedWithCode(66),
              "WARNING: ThreadSanitizer: data race");
}

TEST(ThreadSanitizer, SeesWhatAMutexOrders) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  static fiber::Mutex mutex;
  const auto each = [](int& value) {
    for (int i = 0; i < 1'000; ++i) {
      const std::lock_guard guard(mutex);
      ++value;
    }
  };
  EXPECT_EXIT(two_at_once(each), testing::ExitedWithCode(0), "^$");
}

TEST(ThreadSanitizer, SeesWhatAChannelOrders) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  static fiber::Channel<int> turns(1);
  turns.send(0);
  const auto each = [](int& value) {
    for (int i = 0; i < 1'000; ++i) {
      const int turn = *turns.receive();
      ++value;
      turns.send(turn + 1);
    }
  };
  EXPECT_EXIT(two_at_once(each), testing::ExitedWithCode(0), "^$");
}

#endif

#if FIBER_ASAN

// Hides from the compiler where a pointer comes from.
template <class T>
T* laundered(T* pointer) {
  asm volatile("" : "+r"(pointer));
  return pointer;
}

[[gnu::noinline]] void write_behind_an_array(int index) {
  char array[16] = {};
  laundered(static_cast<char*>(array))[index] = 1;
  laundered(static_cast<char*>(array));
}

[[gnu::noinline]] const int* address_of_a_local() {
  int local = 1;
  return laundered(&local);
}

[[gnu::noinline]] int thrower(int depth) {
  char frame[64];
  laundered(static_cast<char*>(frame))[0] = 1;
  if (depth == 0) throw std::runtime_error("bottom");
  return thrower(depth - 1) + laundered(static_cast<char*>(frame))[0];
}

// Two fibers on two workers, one of which does `body` after both have been switched away from and back.
template <class Body>
void in_a_fiber(const Body& body) {
  fiber::run(fiber::Options{.processors = 2}, [&] {
    auto other = fiber::spawn([] {
      for (int i = 0; i < 100; ++i) fiber::yield();
    });
    for (int i = 0; i < 10; ++i) fiber::yield();
    fiber::spawn(body).join();
    other.join();
  });
  std::exit(0);
}

// The test program starts itself once more, and that process reads the options anew.
void set_up() {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  const char* before = std::getenv("ASAN_OPTIONS");
  const std::string options = std::string(before == nullptr ? "" : before) + ":detect_stack_use_after_return=1";
  setenv("ASAN_OPTIONS", options.c_str(), 1);
}

TEST(AddressSanitizer, SeesAnOverflowOnAFibersStack) {
  set_up();
  EXPECT_DEATH(in_a_fiber([] { write_behind_an_array(16); }), "AddressSanitizer: stack-buffer-overflow");
}

TEST(AddressSanitizer, SeesAUseAfterReturnOnAFibersStack) {
  set_up();
  const auto body = [] {
    const int* address = address_of_a_local();
    fiber::yield();
    std::exit(*address);
  };
  EXPECT_DEATH(in_a_fiber(body), "AddressSanitizer: stack-use-after-return");
}

TEST(AddressSanitizer, IsQuietAboutStacksThatAreUsedAgain) {
  set_up();
  const auto body = [] {
    for (int i = 0; i < 1'000; ++i) {
      const auto failing = [] {
        fiber::yield();
        return thrower(20);
      };
      try {
        (void)fiber::spawn(failing).join();
        std::exit(1);
      } catch (const std::runtime_error&) {
        write_behind_an_array(15);
      }
    }
  };
  EXPECT_EXIT(in_a_fiber(body), testing::ExitedWithCode(0), "^$");
}

#endif

}  // namespace
