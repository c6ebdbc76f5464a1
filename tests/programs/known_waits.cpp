// SPDX-License-Identifier: BSD-2-Clause
// known_waits FIBERS WAITS MILLISECONDS [start delay ms]
//
// Waiting known by construction: FIBERS fibers each receive WAITS times from a channel of their own, to which a partner
// sends MILLISECONDS after it was asked to. Prints what it measured itself, by its own clock, as one JSON line.
#include <fiber/all.h>

#include <unistd.h>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

using namespace std::chrono;

struct Totals {
  std::atomic<long long> receive_ns{0};
  std::atomic<long long> receives{0};
};

[[gnu::noinline]] void wait_for_partner(fiber::Receiver<int>& from, Totals& totals) {
  const auto start = steady_clock::now();
  from.receive();
  totals.receive_ns += (steady_clock::now() - start).count();
  ++totals.receives;
  asm volatile("");  // no tail call: this frame is what the profile must show
}

[[gnu::noinline]] void waiter(fiber::Receiver<int> from, fiber::Sender<int> ask, int waits, Totals& totals) {
  for (int i = 0; i < waits; ++i) {
    ask.send(i);
    wait_for_partner(from, totals);
  }
  ask.close();
  asm volatile("");
}

[[gnu::noinline]] void partner(fiber::Receiver<int> asked, fiber::Sender<int> answer, milliseconds delay) {
  while (asked.receive()) {
    fiber::sleep_for(delay);
    answer.send(1);
  }
  asm volatile("");
}

}  // namespace

int main(int count, char** arguments) {
  const int fibers = count > 1 ? std::atoi(arguments[1]) : 100;
  const int waits = count > 2 ? std::atoi(arguments[2]) : 50;
  const milliseconds delay(count > 3 ? std::atoi(arguments[3]) : 10);
  const milliseconds start(count > 4 ? std::atoi(arguments[4]) : 0);
  Totals totals;
  fiber::run([&] {
    fiber::sleep_for(start);
    fiber::WaitGroup all(fibers);
    for (int i = 0; i < fibers; ++i) {
      fiber::Channel<int> question(1), answer;
      fiber::go({.name = "waiter"}, [=, &totals, &all] {
        waiter(answer, question, waits, totals);
        all.done();
      });
      fiber::go({.name = "partner"}, [=] { partner(question, answer, delay); });
    }
    all.wait();
    std::printf("{\"receives\": %lld, \"receive_ns\": %lld}\n", totals.receives.load(), totals.receive_ns.load());
    std::fflush(stdout);
    // Long enough for a profiler to read what it has: it ends with its reader's end of file or signal.
    if (count > 5) fiber::blocking([] { pause(); });
  });
}
