// SPDX-License-Identifier: BSD-2-Clause
// known_waits FIBERS WAITS MILLISECONDS [start delay ms [PROCESSORS]]
//
// Waiting known by construction: FIBERS fibers each receive WAITS times from a channel of their own, to which a partner
// sends MILLISECONDS after it was asked to. Prints as one JSON line, whatever the kernel does with the threads:
//
//   receives    each of them one wait: the partner sends to a receiver that waits, or not at all
//   receive_ns  around them, by this program's own clock: at least what they waited
//   sleeps      of the partners that were waits, by the runtime's own count: a sleep whose thread was preempted beyond
//               its deadline is none
//   sleep_ns    around all of the partners' sleeps: at least what those waited and, with one processor, at most what
//               the receives did, for there a partner runs only after its waiter has parked
#include <fiber/all.h>
#include <fiberprof/registry.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>

extern "C" struct fiberprof_registry fiberprof_registry;

namespace {

using namespace std::chrono;

struct Totals {
  std::atomic<long long> receives{0}, receive_ns{0}, sleep_ns{0};
};

long long since(steady_clock::time_point start) { return (steady_clock::now() - start).count(); }

// Waits begun so far in which a fiber slept.
long long sleeps_begun() {
  const auto* processors = reinterpret_cast<const std::uint64_t*>(fiberprof_registry.processors);
  std::uint64_t sum = 0;
  for (unsigned i = 0; i < fiber::processor_count(); ++i) {
    const auto* processor = reinterpret_cast<const fiberprof_processor*>(processors[i]);
    sum += __atomic_load_n(&processor->parks[FIBERPROF_REASON_SLEEP], __ATOMIC_RELAXED);
  }
  return static_cast<long long>(sum);
}

[[gnu::noinline]] void wait_for_partner(fiber::Receiver<int>& from, Totals& totals) {
  const auto start = steady_clock::now();
  from.receive();
  totals.receive_ns += since(start);
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

[[gnu::noinline]] void partner(fiber::Receiver<int> asked, fiber::Sender<int> answer, milliseconds delay,
                               Totals& totals) {
  while (asked.receive()) {
    const auto start = steady_clock::now();
    fiber::sleep_for(delay);
    totals.sleep_ns += since(start);
    while (!answer.try_send(1)) fiber::yield();  // it has not parked yet
  }
  asm volatile("");
}

}  // namespace

int main(int count, char** arguments) {
  const int fibers = count > 1 ? std::atoi(arguments[1]) : 100;
  const int waits = count > 2 ? std::atoi(arguments[2]) : 50;
  const milliseconds delay(count > 3 ? std::atoi(arguments[3]) : 10);
  const milliseconds start(count > 4 ? std::atoi(arguments[4]) : 0);
  const unsigned processors = count > 5 ? static_cast<unsigned>(std::atoi(arguments[5])) : 0;
  Totals totals;
  fiber::run(fiber::Options{.processors = processors}, [&] {
    fiber::sleep_for(start);
    const long long before = sleeps_begun();
    fiber::WaitGroup all(fibers);
    for (int i = 0; i < fibers; ++i) {
      fiber::Channel<int> question(1), answer;
      fiber::go({.name = "waiter"}, [=, &totals, &all] {
        waiter(answer, question, waits, totals);
        all.done();
      });
      fiber::go({.name = "partner"}, [=, &totals] { partner(question, answer, delay, totals); });
    }
    all.wait();
    std::printf("{\"receives\": %lld, \"receive_ns\": %lld, \"sleeps\": %lld, \"sleep_ns\": %lld}\n",
                totals.receives.load(), totals.receive_ns.load(), sleeps_begun() - before, totals.sleep_ns.load());
  });
}
