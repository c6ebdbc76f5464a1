// SPDX-License-Identifier: BSD-2-Clause
// sections COUNT MILLISECONDS [start delay ms]
//
// One fiber goes COUNT times through a blocking section of MILLISECONDS on the only processor, while another always has
// work: every section is a thread handoff.
#include <fiber/all.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

int main(int count, char** arguments) {
  using namespace std::chrono;
  const int sections = count > 1 ? std::atoi(arguments[1]) : 20;
  const milliseconds time(count > 2 ? std::atoi(arguments[2]) : 10);
  const milliseconds start(count > 3 ? std::atoi(arguments[3]) : 0);
  fiber::run(fiber::Options{.processors = 1}, [&] {
    fiber::sleep_for(start);
    std::atomic<bool> stop{false};
    auto worker = fiber::spawn({.name = "worker"}, [&] {
      while (!stop) fiber::yield();
    });
    fiber::spawn({.name = "blocker"}, [&] {
      for (int i = 0; i < sections; ++i) {
        fiber::blocking([&] { std::this_thread::sleep_for(time); });
        fiber::yield();
      }
    }).join();
    stop = true;
    worker.join();
    std::printf("{\"sections\": %d}\n", sections);
  });
}
