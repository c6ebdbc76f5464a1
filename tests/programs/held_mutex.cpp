// SPDX-License-Identifier: BSD-2-Clause
// held_mutex ROUNDS MILLISECONDS
//
// The bug that stalls a whole worker: fibers share a pthread mutex with a foreign thread, which holds it for
// MILLISECONDS each round while a fiber wants it. Prints how long the fiber was held up, by its own clock, as JSON.
#include <fiber/all.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>

namespace {

using namespace std::chrono;

std::mutex shared;
std::atomic<int> held_round{-1};
long long held_up_ns = 0;

[[gnu::noinline]] void lock_the_pthread_mutex() {
  const auto start = steady_clock::now();
  shared.lock();
  held_up_ns += (steady_clock::now() - start).count();
  shared.unlock();
}

}  // namespace

int main(int count, char** arguments) {
  const int rounds = count > 1 ? std::atoi(arguments[1]) : 20;
  const milliseconds hold(count > 2 ? std::atoi(arguments[2]) : 20);
  std::atomic<int> wanted{-1};
  std::thread holder([&] {
    for (int round = 0; round < rounds; ++round) {
      while (wanted.load() < round) std::this_thread::sleep_for(1ms);
      std::lock_guard guard(shared);
      held_round = round;
      std::this_thread::sleep_for(hold);
    }
  });
  fiber::run(fiber::Options{.processors = 2}, [&] {
    fiber::sleep_for(milliseconds(count > 3 ? std::atoi(arguments[3]) : 0));
    fiber::spawn({.name = "victim"}, [&] {
      for (int round = 0; round < rounds; ++round) {
        wanted = round;
        while (held_round.load() < round) fiber::sleep_for(1ms);
        lock_the_pthread_mutex();
      }
    }).join();
    std::printf("{\"rounds\": %d, \"held_up_ns\": %lld}\n", rounds, held_up_ns);
    std::fflush(stdout);
  });
  holder.join();
}
