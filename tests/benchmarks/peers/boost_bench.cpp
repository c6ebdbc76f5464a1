// SPDX-License-Identifier: BSD-2-Clause
// The benchmarks of ../runtime_bench.cpp, in the same shape, with Boost.Fiber: boost_bench NAME WORKERS OPERATIONS.
//
// One worker: its round-robin scheduler. More: its work-stealing one, told to sleep rather than to spin when it has no
// work, which is faster in most of these and never hangs on to a CPU that others need. Stacks come from its pool, and a
// fiber that is joined at once is entered at once (launch::dispatch): its fastest ways. It has no select.
#include <boost/fiber/all.hpp>

#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#include "../measure.h"

namespace {

namespace bf = boost::fibers;

bf::pooled_fixedsize_stack& pool() {
  static thread_local bf::pooled_fixedsize_stack stacks;
  return stacks;
}

template <class F>
bf::fiber post(F&& function) {
  return bf::fiber(bf::launch::post, std::allocator_arg, pool(), std::forward<F>(function));
}

void yield_two(long operations) {
  auto half = [operations] {
    for (long i = 0; i < operations / 2; ++i) boost::this_fiber::yield();
  };
  bf::fiber one = post(half), other = post(half);
  one.join();
  other.join();
}

void ping_pong(long operations) {
  bf::unbuffered_channel<long> there, back;
  bf::fiber echo = post([&] {
    long value;
    while (there.pop(value) == bf::channel_op_status::success) back.push(value);
  });
  long value;
  for (long i = 0; i < operations; ++i) {
    there.push(i);
    back.pop(value);
  }
  there.close();
  echo.join();
}

void buffered(long operations) {
  bf::buffered_channel<long> channel(128);
  bf::fiber sender = post([&] {
    for (long i = 0; i < operations; ++i) channel.push(i);
    channel.close();
  });
  long value;
  while (channel.pop(value) == bf::channel_op_status::success) {
  }
  sender.join();
}

void spawn_join(long operations) {
  for (long i = 0; i < operations; ++i) {
    bf::fiber(bf::launch::dispatch, std::allocator_arg, pool(), [] {}).join();
  }
}

void mutex_uncontended(long operations) {
  bf::mutex mutex;
  long counter = 0;
  for (long i = 0; i < operations; ++i) {
    const std::lock_guard lock(mutex);
    ++counter;
    bench::keep(counter);
  }
}

void mutex_contended(long operations) {
  constexpr long kFibers = 8;
  bf::mutex mutex;
  long counter = 0;
  std::vector<bf::fiber> fibers;
  for (long k = 0; k < kFibers; ++k) {
    fibers.push_back(post([&] {
      for (long i = 0; i < operations / kFibers; ++i) {
        const std::lock_guard lock(mutex);
        ++counter;
        bench::keep(counter);
      }
    }));
  }
  for (bf::fiber& fiber : fibers) fiber.join();
}

void fan_in(long operations) {
  constexpr long kSenders = 100;
  bf::unbuffered_channel<long> channel;
  std::vector<bf::fiber> senders;
  for (long k = 0; k < kSenders; ++k) {
    senders.push_back(post([&] {
      for (long i = 0; i < operations / kSenders; ++i) channel.push(i);
    }));
  }
  long sum = 0, value = 0;
  for (long i = 0; i < operations / kSenders * kSenders; ++i) {
    channel.pop(value);
    sum += value;
  }
  bench::keep(sum);
  for (bf::fiber& sender : senders) sender.join();
}

// Ten results fit (a capacity is a power of two, one slot of which stays empty). Entered at once, a node is done before
// the next begins, so few fibers live at the same time.
void skynet_node(bf::buffered_channel<long>& up, long number, long leaves) {
  if (leaves == 1) {
    up.push(number);
    return;
  }
  bf::buffered_channel<long> children(16);
  for (long k = 0; k < 10; ++k) {
    bf::fiber(bf::launch::dispatch, std::allocator_arg, pool(), [&children, number, leaves, k] {
      skynet_node(children, number + k * (leaves / 10), leaves / 10);
    }).detach();
  }
  long sum = 0, value = 0;
  for (int k = 0; k < 10; ++k) {
    children.pop(value);
    sum += value;
  }
  up.push(sum);
}

void skynet(long operations) {
  bf::buffered_channel<long> result(2);
  skynet_node(result, 0, operations);
  long sum = 0;
  result.pop(sum);
  if (sum != operations * (operations - 1) / 2) std::abort();
}

struct Benchmark {
  const char* name;
  void (*run)(long operations);
};
constexpr Benchmark kBenchmarks[] = {
    {"yield", yield_two},
    {"ping_pong", ping_pong},
    {"buffered", buffered},
    {"spawn_join", spawn_join},
    {"mutex_uncontended", mutex_uncontended},
    {"mutex_contended", mutex_contended},
    {"fan_in", fan_in},
    {"skynet", skynet},
};

// Runs `body` on a fiber while `workers` threads share their fibers.
template <class Body>
void on_workers(unsigned workers, Body body) {
  if (workers == 1) {
    body();
    return;
  }
  bool done = false;
  bf::mutex mutex;
  bf::condition_variable_any over;
  std::vector<std::thread> others;
  auto join_in = [&] { bf::use_scheduling_algorithm<bf::algo::work_stealing>(workers, true); };
  for (unsigned i = 1; i < workers; ++i) {
    others.emplace_back([&] {
      join_in();
      std::unique_lock lock(mutex);
      over.wait(lock, [&] { return done; });
    });
  }
  join_in();
  post(body).join();
  {
    const std::lock_guard lock(mutex);
    done = true;
  }
  over.notify_all();
  for (std::thread& other : others) other.join();
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 4) {
    std::fprintf(stderr, "usage: boost_bench NAME WORKERS OPERATIONS\n");
    return 2;
  }
  const unsigned workers = static_cast<unsigned>(std::strtoul(arguments[2], nullptr, 10));
  const long operations = std::strtol(arguments[3], nullptr, 10);
  for (const Benchmark& benchmark : kBenchmarks) {
    if (std::strcmp(arguments[1], benchmark.name) != 0) continue;
    on_workers(workers, [&] { std::printf("%.3f\n", bench::measure(operations, benchmark.run)); });
    return 0;
  }
  std::fprintf(stderr, "boost_bench: no benchmark is called '%s'\n", arguments[1]);
  return 2;
}
