// SPDX-License-Identifier: BSD-2-Clause
// A deadlock to look at: two fibers take two locks in opposite order and stop for ever, while a third goes on ticking.
// Nothing crashes, no CPU is busy, and because one fiber lives the "all fibers are asleep" check must stay silent: this
// is what a partial deadlock in a service looks like from outside.
//
//   build/bin/deadlock [SECONDS]       default: until Ctrl-C
//   fiberprof top deadlock             two fibers wait in "mutex" below transfer(), longer and longer
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <mutex>

#include "fiber/fiber.h"
#include "fiber/runtime.h"
#include "fiber/sync.h"
#include "fiber/time.h"

using namespace std::chrono_literals;

struct Account {
  fiber::Mutex mutex;
  long balance = 100;
};

// Locks the giver first and the taker second. That is the bug: two transfers in opposite directions each hold what the
// other needs. (std::scoped_lock on both would take them in a safe way.)
void transfer(Account& from, Account& to, long amount) {
  const std::lock_guard giver(from.mutex);
  fiber::sleep_for(10ms);  // enough for the other one to take its first lock
  const std::lock_guard taker(to.mutex);
  from.balance -= amount;
  to.balance += amount;
}

int main(int argc, char** argv) {
  const long ticks = argc > 1 ? std::atol(argv[1]) : std::numeric_limits<long>::max();

  fiber::run([=] {
    // Outlives run(): when it returns, the two are abandoned where they stand.
    static Account alice, bob;
    fiber::go({.name = "alice to bob"}, [] { transfer(alice, bob, 10); });
    fiber::go({.name = "bob to alice"}, [] { transfer(bob, alice, 20); });

    fiber::set_name("ticker");
    for (long tick = 1; tick <= ticks; ++tick) {
      fiber::sleep_for(1s);
      std::printf("tick %ld: all seems well\n", tick);
      std::fflush(stdout);
    }
  });
}
