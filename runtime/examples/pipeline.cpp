// SPDX-License-Identifier: BSD-2-Clause
// A pipeline: one fiber makes numbers, four square them, one adds them up. The squarers are the slow stage, so the
// source waits to send and the sum waits to receive: a profile shows which stage holds up the others.
//
//   build/bin/pipeline [SECONDS]       default 10
//   fiberprof top pipeline
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "fiber/channel.h"
#include "fiber/fiber.h"
#include "fiber/runtime.h"
#include "fiber/sync.h"
#include "fiber/time.h"

using namespace std::chrono_literals;

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 10;

  fiber::run([=] {
    fiber::Channel<long> numbers(16), squares(16);  // a little slack between the stages

    fiber::go({.name = "source"}, [out = numbers.sender(), seconds]() mutable {
      const auto end = fiber::Clock::now() +
                       std::chrono::duration_cast<fiber::Clock::duration>(std::chrono::duration<double>(seconds));
      for (long n = 1; fiber::Clock::now() < end; ++n) out.send(n % 1000);
      out.close();  // tells the next stage that there will be no more
    });

    fiber::WaitGroup squarers(4);
    for (int i = 0; i < 4; ++i) {
      fiber::go({.name = "squarer " + std::to_string(i)},
                [&, in = numbers.receiver(), out = squares.sender()]() mutable {
                  for (long n : in) {
                    fiber::sleep_for(1ms);  // as if it asked another service
                    out.send(n * n);
                  }
                  squarers.done();
                });
    }
    // Only when the last squarer has finished may their channel be closed.
    fiber::go({.name = "closer"}, [&, out = squares.sender()]() mutable {
      squarers.wait();
      out.close();
    });

    long sum = 0, count = 0;
    for (long square : squares.receiver()) {
      sum += square;
      ++count;
    }
    std::printf("%ld squares, their sum is %ld\n", count, sum);
  });
}
