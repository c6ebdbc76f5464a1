// SPDX-License-Identifier: BSD-2-Clause
// Two fibers throw a ball over two unbuffered channels: the smallest program in which fibers wait for each other.
//
//   build/bin/ping-pong [SECONDS]      default 10
//   fiberprof top ping-pong            both wait in "chan receive", in turn
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "fiber/channel.h"
#include "fiber/fiber.h"
#include "fiber/runtime.h"
#include "fiber/time.h"

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 10;

  fiber::run([=] {
    // Unbuffered: send() returns when the other side has the value.
    fiber::Channel<long> ping, pong;

    // A fiber costs a few hundred nanoseconds; a name makes it easy to find in a tool. Each side gets only the right
    // it needs: to receive from one channel and to send on the other.
    auto player = fiber::spawn({.name = "pong"}, [in = ping.receiver(), out = pong.sender()]() mutable {
      for (long ball : in) out.send(ball + 1);  // ends when `ping` is closed
    });

    fiber::set_name("ping");
    const auto start = fiber::Clock::now();
    const auto end = start + std::chrono::duration_cast<fiber::Clock::duration>(std::chrono::duration<double>(seconds));
    long ball = 0;
    while (fiber::Clock::now() < end) {
      for (int i = 0; i < 1000; ++i) {
        ping.send(ball);
        ball = *pong.receive();
      }
    }
    ping.close();
    player.join();

    const std::chrono::duration<double, std::nano> took = fiber::Clock::now() - start;
    std::printf("%ld round trips, %.0f ns each\n", ball, ball > 0 ? took.count() / static_cast<double>(ball) : 0.0);
  });
}
