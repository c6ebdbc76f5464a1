// SPDX-License-Identifier: BSD-2-Clause
// profiled LOAD WORKERS: a program to be profiled. Says "ready", then does as its standard input says, line by line:
//
//   ping_pong   "MS": values over two unbuffered channels for that long; prints nanoseconds and parks per round trip
//   mixed       runs until the end of the input: twenty stacks that wait for 50 us to 500 ms, over four reasons
//   parked      100,000 fibers blocked for good in 10,000 stacks, until the end of the input
//   waking      the same, each for 5 to 15 s at a time
//   threads     "MS": two threads, no fibers, that wake each other; prints nanoseconds per round trip
#include <fiber/all.h>
#include <fiberprof/registry.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

extern "C" fiberprof_registry fiberprof_registry;

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds, std::chrono::milliseconds;

// The next line's number; negative at the end.
long next_line() {
  char line[64];
  return fiber::blocking([&] { return std::fgets(line, sizeof line, stdin) != nullptr; }) ? std::atol(line) : -1;
}

void say_ready() {
  std::puts("ready");
  std::fflush(stdout);
}

unsigned long long parks() {
  unsigned long long sum = 0;
  const auto* processors = reinterpret_cast<const std::uint64_t*>(fiberprof_registry.processors);
  for (unsigned i = 0; i < fiberprof_registry.processor_count; ++i)
    for (const auto count : reinterpret_cast<const fiberprof_processor*>(processors[i])->parks) sum += count;
  return sum;
}

void ping_pong() {
  fiber::Channel<long> there, back;
  auto echo = fiber::spawn([&] {
    while (auto value = there.receive()) back.send(*value);
  });
  say_ready();
  for (long ms = next_line(); ms >= 0; ms = next_line()) {
    long rounds = 0;
    const auto parks_before = parks();
    const auto start = Clock::now();
    do {
      for (int i = 0; i < 10'000; ++i) {
        there.send(i);
        back.receive();
      }
      rounds += 10'000;
    } while (Clock::now() - start < milliseconds(ms));
    const std::chrono::duration<double, std::nano> time = Clock::now() - start;
    std::printf("%.3f %.3f\n", time.count() / static_cast<double>(rounds),
                static_cast<double>(parks() - parks_before) / static_cast<double>(rounds));
    std::fflush(stdout);
  }
  there.close();
}

// --- mixed: each number is a function of its own, and so a stack ----------------------------------------------------
fiber::Mutex mutexes[5];

template <int N>
[[gnu::noinline]] void wait_like() {
  static constexpr double kShortest = 50, kRatio = 1.624;  // to 500 ms in nineteen steps
  double us = kShortest;
  for (int i = 0; i < N; ++i) us *= kRatio;
  const microseconds time(static_cast<long>(us));
  if constexpr (N % 4 == 0) {
    fiber::sleep_for(time);
  } else if constexpr (N % 4 == 1) {
    fiber::Channel<int> channel;
    (void)channel.receive(time);
  } else if constexpr (N % 4 == 2) {
    fiber::Semaphore semaphore(0);
    (void)semaphore.acquire(time);
  } else {
    // A mutex has a holder: it sleeps, the next waits for it.
    const std::lock_guard lock(mutexes[N / 4]);
    fiber::sleep_for(time);
  }
}

template <int... N>
void start_mixed(std::integer_sequence<int, N...>) {
  for (int copy = 0; copy < 4; ++copy)
    (fiber::go([] {
       for (;;) wait_like<N>();
     }),
     ...);
}

// --- parked: the binary digits of a number as a stack ---------------------------------------------------------------
fiber::Channel<int> never;
bool wakes = false;
std::atomic<unsigned> waits{0};
void descend(unsigned number, int depth);
[[gnu::noinline]] void left(unsigned number, int depth) {
  descend(number, depth);
  asm volatile("");
}
[[gnu::noinline]] void right(unsigned number, int depth) {
  descend(number, depth);
  asm volatile("");
}
[[gnu::noinline]] void descend(unsigned number, int depth) {
  if (depth == 0)
    (void)never.receive(wakes ? fiber::Limit(milliseconds(5'000 + waits.fetch_add(7'919) % 10'000)) : fiber::Limit());
  else if (number & 1)
    left(number >> 1, depth - 1);
  else
    right(number >> 1, depth - 1);
  asm volatile("");
}

void threads() {
  std::mutex mutex;
  std::condition_variable changed;
  long turn = 0;
  std::thread other([&] {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return turn % 2 != 0; });
      if (turn < 0) return;
      ++turn;
      changed.notify_one();
    }
  });
  say_ready();
  char line[64];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    const auto time = milliseconds(std::atol(line));
    const auto start = Clock::now();
    long rounds = 0;
    for (std::unique_lock lock(mutex); Clock::now() - start < time; ++rounds) {
      ++turn;
      changed.notify_one();
      changed.wait(lock, [&] { return turn % 2 == 0; });
    }
    const std::chrono::duration<double, std::nano> took = Clock::now() - start;
    std::printf("%.3f 0\n", took.count() / static_cast<double>(rounds));
    std::fflush(stdout);
  }
  {
    const std::lock_guard lock(mutex);
    turn = -1;
  }
  changed.notify_one();
  other.join();
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::fprintf(stderr, "usage: profiled LOAD WORKERS\n");
    return 2;
  }
  const char* load = arguments[1];
  if (std::strcmp(load, "threads") == 0) {
    threads();
    return 0;
  }
  const unsigned workers = static_cast<unsigned>(std::strtoul(arguments[2], nullptr, 10));
  fiber::run(fiber::Options{.processors = workers}, [&] {
    if (std::strcmp(load, "ping_pong") == 0) return ping_pong();
    if (std::strcmp(load, "mixed") == 0) {
      start_mixed(std::make_integer_sequence<int, 20>());
    } else if (std::strcmp(load, "parked") == 0 || std::strcmp(load, "waking") == 0) {
      wakes = load[0] == 'w';
      for (unsigned i = 0; i < 100'000; ++i)
        fiber::go([i] {
          for (;;) descend(i % 10'000, 14);
        });
      fiber::sleep_for(milliseconds(100));  // they run, and block
    } else {
      std::fprintf(stderr, "profiled: no load is called '%s'\n", load);
      std::_Exit(2);
    }
    say_ready();
    while (next_line() >= 0) {
    }
    std::_Exit(0);
  });
}
