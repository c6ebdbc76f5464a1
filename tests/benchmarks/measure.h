// SPDX-License-Identifier: BSD-2-Clause
// How one benchmark is measured, the same for our programs and for the C++ peers: batches of a fixed number of
// operations until enough time has passed, and the mean over all of them.
#pragma once

#include <chrono>

namespace bench {

inline constexpr double kSeconds = 0.3;

// Nanoseconds per operation of run(operations), which performs that many.
template <class Run>
double measure(long operations, Run run) {
  using Clock = std::chrono::steady_clock;
  long done = 0;
  std::chrono::duration<double> time{0};
  const auto start = Clock::now();
  do {
    run(operations);
    done += operations;
    time = Clock::now() - start;
  } while (time.count() < kSeconds);
  return time.count() * 1e9 / static_cast<double>(done);
}

// Tells the compiler that `value` is looked at, so that the work on it stays.
template <class T>
void keep(T& value) {
  asm volatile("" : "+m"(value) : : "memory");
}

}  // namespace bench
