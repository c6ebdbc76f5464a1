// SPDX-License-Identifier: BSD-2-Clause
// held_queue FIBERS SECONDS
//
// Keeps the run queue of the only processor at a known depth: FIBERS fibers that compute 50 us and yield, for ever, so
// at any moment one runs and FIBERS - 1 are queued.
#include <fiber/all.h>

#include <chrono>
#include <cstdlib>

int main(int count, char** arguments) {
  const int fibers = count > 1 ? std::atoi(arguments[1]) : 8;
  const std::chrono::seconds time(count > 2 ? std::atoi(arguments[2]) : 2);
  fiber::run(fiber::Options{.processors = 1}, [&] {
    const auto end = fiber::Clock::now() + time;
    fiber::WaitGroup all(fibers);
    for (int i = 0; i < fibers; ++i) {
      fiber::go({.name = "spinner"}, [&] {
        while (fiber::Clock::now() < end) {
          const auto slice = fiber::Clock::now() + std::chrono::microseconds(50);
          while (fiber::Clock::now() < slice) {
          }
          fiber::yield();
        }
        all.done();
      });
    }
    all.wait();
  });
}
