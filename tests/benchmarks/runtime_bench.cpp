// SPDX-License-Identifier: BSD-2-Clause
// runtime_bench NAME WORKERS OPERATIONS: one benchmark of our runtime; prints nanoseconds per operation.
//
// The same benchmarks, in the same shape, are in peers/ for Go and Boost.Fiber; scripts/bench runs them in turn. Linked
// twice, with the probes and without (FIBER_NO_PROBES), to show what an unattached probe costs.
#include <fiber/all.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <vector>

#include "measure.h"

namespace {

// Two fibers that yield to each other; one operation is one yield.
void yield_two(long operations) {
  auto half = [operations] {
    for (long i = 0; i < operations / 2; ++i) fiber::yield();
  };
  auto one = fiber::spawn(half);
  auto other = fiber::spawn(half);
  one.join();
  other.join();
}

// A value there and one back over unbuffered channels; one operation is one round trip.
void ping_pong(long operations) {
  fiber::Channel<long> there, back;
  auto echo = fiber::spawn([&] {
    while (auto value = there.receive()) back.send(*value);
  });
  for (long i = 0; i < operations; ++i) {
    there.send(i);
    back.receive();
  }
  there.close();
  echo.join();
}

// One sender, one receiver, 128 slots; one operation is one value.
void buffered(long operations) {
  fiber::Channel<long> channel(128);
  auto sender = fiber::spawn([&] {
    for (long i = 0; i < operations; ++i) channel.send(i);
    channel.close();
  });
  while (channel.receive()) {
  }
  sender.join();
}

// A receiver that waits for either of two unbuffered channels, which the sender serves in turn.
void select_two(long operations) {
  fiber::Channel<long> a, b;
  auto sender = fiber::spawn([&] {
    for (long i = 0; i < operations; ++i) (i % 2 == 0 ? a : b).send(i);
  });
  long sum = 0;
  for (long i = 0; i < operations; ++i) {
    fiber::select(fiber::on_receive(a, [&](std::optional<long> value) { sum += *value; }),
                  fiber::on_receive(b, [&](std::optional<long> value) { sum += *value; }));
  }
  bench::keep(sum);
  sender.join();
}

// One at a time.
void spawn_join(long operations) {
  for (long i = 0; i < operations; ++i) fiber::spawn([] {}).join();
}

void mutex_uncontended(long operations) {
  fiber::Mutex mutex;
  long counter = 0;
  for (long i = 0; i < operations; ++i) {
    const std::lock_guard lock(mutex);
    ++counter;
    bench::keep(counter);
  }
}

// Eight fibers, one mutex, a section of a few instructions; one operation is one lock.
void mutex_contended(long operations) {
  constexpr long kFibers = 8;
  fiber::Mutex mutex;
  long counter = 0;
  fiber::WaitGroup group(kFibers);
  for (long k = 0; k < kFibers; ++k) {
    fiber::go([&] {
      for (long i = 0; i < operations / kFibers; ++i) {
        const std::lock_guard lock(mutex);
        ++counter;
        bench::keep(counter);
      }
      group.done();
    });
  }
  group.wait();
}

// A hundred senders, one receiver, unbuffered; one operation is one value.
void fan_in(long operations) {
  constexpr long kSenders = 100;
  fiber::Channel<long> channel;
  for (long k = 0; k < kSenders; ++k) {
    fiber::go([&channel, operations] {
      for (long i = 0; i < operations / kSenders; ++i) channel.send(i);
    });
  }
  long sum = 0;
  for (long i = 0; i < operations / kSenders * kSenders; ++i) sum += *channel.receive();
  bench::keep(sum);
}

// A tree of fibers, ten children each, whose leaves send their number up; one operation is one leaf.
void skynet_node(const fiber::Sender<long>& parent, long number, long leaves) {
  fiber::Sender<long> up = parent;
  if (leaves == 1) {
    up.send(number);
    return;
  }
  fiber::Channel<long> children(10);
  for (long k = 0; k < 10; ++k) {
    fiber::go([sender = children.sender(), number, leaves, k] {
      skynet_node(sender, number + k * (leaves / 10), leaves / 10);
    });
  }
  long sum = 0;
  for (int k = 0; k < 10; ++k) sum += *children.receive();
  up.send(sum);
}

void skynet(long operations) {
  fiber::Channel<long> result(1);
  skynet_node(result, 0, operations);
  if (*result.receive() != operations * (operations - 1) / 2) std::abort();
}

// Ten thousand runnable fibers that yield; prints how long they were runnable before they ran: the median, two
// percentiles and the maximum, and the fair share, which is what each would wait if all took turns. Then the same
// percentiles counted in turns of others, which is the scheduler's part of it: the machine takes its time between any
// two. Measured from when all of them have begun and run a few times, and nobody ends before all have been measured.
void queueing(unsigned workers, long operations) {
  constexpr long kFibers = 10'000, kWarmUp = 5;
  const long yields = operations / kFibers;
  std::vector<std::uint32_t> waits(static_cast<std::size_t>(kFibers * yields)), turns(waits.size());
  std::atomic<std::uint32_t> turn{0};
  fiber::WaitGroup group(kFibers);
  std::atomic<long> begun{0}, measured{0};
  fiber::Clock::time_point start, end;
  for (long k = 0; k < kFibers; ++k) {
    fiber::go([&, k] {
      const auto wait = [&](long i) {
        const auto place = static_cast<std::size_t>(k * yields + i);
        const auto before = fiber::Clock::now();
        const std::uint32_t turn_before = turn.fetch_add(1, std::memory_order_relaxed);
        fiber::yield();
        turns[place] = turn.load(std::memory_order_relaxed) - turn_before;
        waits[place] = static_cast<std::uint32_t>(std::chrono::nanoseconds(fiber::Clock::now() - before).count());
      };
      for (long i = 0; i < kWarmUp; ++i) wait(0);
      if (begun.fetch_add(1) == kFibers - 1) start = fiber::Clock::now();
      while (begun.load(std::memory_order_relaxed) < kFibers) fiber::yield();
      for (long i = 0; i < yields; ++i) wait(i);
      if (measured.fetch_add(1) == kFibers - 1) end = fiber::Clock::now();
      while (measured.load(std::memory_order_relaxed) < kFibers) fiber::yield();
      group.done();
    });
  }
  group.wait();
  const double total = std::chrono::duration<double, std::nano>(end - start).count();
  auto print_quantiles = [](std::vector<std::uint32_t>& values) {
    std::sort(values.begin(), values.end());
    for (const double q : {0.5, 0.99, 0.999, 1.0}) {
      std::printf("%u ", values[static_cast<std::size_t>(q * static_cast<double>(values.size() - 1))]);
    }
  };
  // All workers together ran `operations` slices in that time.
  const double slice = total * workers / static_cast<double>(waits.size());
  print_quantiles(waits);
  std::printf("%.0f ", kFibers * slice / workers);
  print_quantiles(turns);
  std::printf("%ld\n", kFibers);
}

struct Benchmark {
  const char* name;
  void (*run)(long operations);
};
constexpr Benchmark kBenchmarks[] = {
    {"yield", yield_two},
    {"ping_pong", ping_pong},
    {"buffered", buffered},
    {"select", select_two},
    {"spawn_join", spawn_join},
    {"mutex_uncontended", mutex_uncontended},
    {"mutex_contended", mutex_contended},
    {"fan_in", fan_in},
    {"skynet", skynet},
};

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) {
    std::fprintf(stderr, "usage: runtime_bench NAME WORKERS OPERATIONS\n");
    return 2;
  }
  const char* name = arguments[1];
  const unsigned workers = static_cast<unsigned>(std::strtoul(arguments[2], nullptr, 10));
  const long operations = std::strtol(arguments[3], nullptr, 10);
  bool found = false;
  fiber::run(fiber::Options{.processors = workers}, [&] {
    if (std::strcmp(name, "queueing") == 0) {
      found = true;
      queueing(workers, operations);
    }
    for (const Benchmark& benchmark : kBenchmarks) {
      if (std::strcmp(name, benchmark.name) != 0) continue;
      found = true;
      std::printf("%.3f\n", bench::measure(operations, benchmark.run));
    }
  });
  if (!found) std::fprintf(stderr, "runtime_bench: no benchmark is called '%s'\n", name);
  return found ? 0 : 2;
}
