// SPDX-License-Identifier: BSD-2-Clause
// Stacks: usable as asked, guarded, cheap by the million, given back when nobody needs them.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "runtime/scale.h"

using namespace std::chrono_literals;

namespace {

// Writes to the stack from `start` down to `bytes` below it, and returns how many bytes that were. Frame addresses, not
// those of variables, which AddressSanitizer may put elsewhere.
[[gnu::noinline]] std::size_t use_stack(const char* start, std::size_t bytes) {
  volatile char frame[1024];
  memset(const_cast<char*>(frame), 1, sizeof(frame));
  const auto used = static_cast<std::size_t>(start - static_cast<const char*>(__builtin_frame_address(0)));
  return used >= bytes ? used : std::max(used, use_stack(start, bytes)) + frame[9] - 1u;
}
[[gnu::noinline]] std::size_t use_stack(std::size_t bytes) {
  return use_stack(static_cast<const char*>(__builtin_frame_address(0)), bytes);
}

// Resident anonymous memory of this process, bytes.
std::size_t resident() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  unsigned long size = 0, pages = 0, shared = 0;
  EXPECT_EQ(std::fscanf(file, "%lu %lu %lu", &size, &pages, &shared), 3);
  std::fclose(file);
  return (pages - shared) * 4096;
}

std::size_t mappings() {
  std::FILE* file = std::fopen("/proc/self/maps", "r");
  std::size_t lines = 0;
  for (int c; (c = std::fgetc(file)) != EOF;) lines += c == '\n';
  std::fclose(file);
  return lines;
}

}  // namespace

TEST(Stack, OverflowNamesTheFiber) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_DEATH(
      fiber::run([] { fiber::spawn({.name = "deep"}, [] { return use_stack(std::size_t{1} << 40); }).join(); }),
      "fiber 2 \"deep\" overflowed its stack of 128 KiB");
}

TEST(Stack, SizeIsUsableAsAsked) {
  fiber::run(fiber::Options{.processors = 1, .stack_size = 1 << 20},
             [] { EXPECT_GE(fiber::spawn([] { return use_stack(1'000'000); }).join(), 1'000'000u); });
}

TEST(Stack, AMillionFibersParkInFiveGiB) {
  const int fibers = fibers_at_once(FIBER_ASAN ? 100'000 : 1'000'000);
  const std::size_t before = resident();
  fiber::run(fiber::Options{.processors = 2}, [&] {
    fiber::Channel<int> gate;
    fiber::WaitGroup parked(fibers), done(fibers);
    std::atomic<std::int64_t> sum{0};
    for (int i = 0; i < fibers; ++i) {
      fiber::go([&, i] {
        parked.done();
        gate.receive();
        sum += i;
        done.done();
      });
    }
    parked.wait();
    if (!FIBER_ASAN && !FIBER_TSAN) {
      EXPECT_LE((resident() - before) / static_cast<std::size_t>(fibers), 5 * (std::size_t{1} << 30) / 1'000'000);
      EXPECT_LE(mappings(), 10'000u);  // the kernel's limit is 65,530
    }
    gate.close();
    done.wait();
    EXPECT_EQ(sum, static_cast<std::int64_t>(fibers) * (fibers - 1) / 2);
  });
}

TEST(Stack, PagesOfIdleStacksAreGivenBack) {
  if (FIBER_ASAN || FIBER_TSAN) return;  // their own memory hides ours
  constexpr int kFibers = 2'000;
  constexpr std::size_t kEach = 100'000;
  fiber::run(fiber::Options{.processors = 2}, [] {
    fiber::Channel<int> gate;
    fiber::WaitGroup deep(kFibers), done(kFibers);
    for (int i = 0; i < kFibers; ++i) {
      fiber::go([&] {
        use_stack(kEach);
        deep.done();
        gate.receive();
        done.done();
      });
    }
    deep.wait();
    const std::size_t high = resident();
    EXPECT_GE(high, kFibers * kEach);
    gate.close();
    done.wait();
    // Within seconds; without the pool's trimming this never ends. What processors keep for themselves stays.
    while (resident() > high - kFibers * kEach * 3 / 4) fiber::sleep_for(50ms);
  });
}
