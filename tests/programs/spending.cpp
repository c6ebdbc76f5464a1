// SPDX-License-Identifier: BSD-2-Clause
// spending MILLISECONDS
//
// Fibers that spend their time in all the ways there are, for so long: they compute, take turns with others, sleep,
// nap in the kernel without saying so, and live for a moment only. Prints what they know of it themselves, by clocks of
// their own, as one JSON line: how long all of them lived, the CPU time of those that compute, and the time of the
// naps.
#include <fiber/all.h>

#include <time.h>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

std::atomic<long long> lived_ns{0}, computed_ns{0}, napped_ns{0};

long long ns(Clock::duration time) { return std::chrono::nanoseconds(time).count(); }

long long thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

[[gnu::noinline]] void burn(long long cpu_ns) {
  for (const long long start = thread_cpu_ns(); thread_cpu_ns() - start < cpu_ns;) {
  }
  asm volatile("");
}

// What a fiber is spawned with: a type each, whose name tells them apart. It lives from here on.
struct Life {
  fiber::WaitGroup* all;
  Clock::time_point end;
  Clock::time_point born = Clock::now();
  void over() const {
    lived_ns += ns(Clock::now() - born);
    all->done();
  }
};

struct Computes : Life {
  void operator()() const {
    while (Clock::now() < end) {
      const long long start = thread_cpu_ns();
      burn(300'000);
      computed_ns += thread_cpu_ns() - start;
      fiber::yield();
    }
    over();
  }
};

struct Sleeps : Life {
  void operator()() const {
    while (Clock::now() < end) fiber::sleep_for(milliseconds(4));
    over();
  }
};

struct Naps : Life {
  void operator()() const {
    while (Clock::now() < end) {
      const Clock::time_point start = Clock::now();
      const timespec time{0, 3'000'000};
      nanosleep(&time, nullptr);
      napped_ns += ns(Clock::now() - start);
      fiber::sleep_for(milliseconds(10));
    }
    over();
  }
};

struct LivesForAMoment : Life {
  void operator()() const {
    burn(20'000);
    over();
  }
};

struct Spawns : Life {
  void operator()() const {
    while (Clock::now() < end) {
      all->add(20);
      for (int i = 0; i < 20; ++i) fiber::go(LivesForAMoment{{all, end}});
      fiber::sleep_for(milliseconds(3));
    }
    over();
  }
};

}  // namespace

int main(int count, char** arguments) {
  const milliseconds time(count > 1 ? std::atoi(arguments[1]) : 1000);
  const Clock::time_point begin = Clock::now();
  fiber::run(fiber::Options{.processors = 2}, [&] {
    const Clock::time_point end = begin + time;
    fiber::WaitGroup all(3 + 40 + 1 + 1);
    for (int i = 0; i < 3; ++i) fiber::go(Computes{{&all, end}});
    for (int i = 0; i < 40; ++i) fiber::go(Sleeps{{&all, end}});
    fiber::go(Naps{{&all, end}});
    fiber::go(Spawns{{&all, end}});
    all.wait();
  });
  lived_ns += ns(Clock::now() - begin);  // the first fiber
  std::printf("{\"lived_ns\": %lld, \"computed_ns\": %lld, \"napped_ns\": %lld}\n", lived_ns.load(), computed_ns.load(),
              napped_ns.load());
}
