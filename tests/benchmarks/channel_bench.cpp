// SPDX-License-Identifier: BSD-2-Clause
// channel_bench NAME ROUNDS: one benchmark of the runtime, nanoseconds per operation, best of ROUNDS, one line per round.
// Linked twice, with the probes and without (FIBER_NO_PROBES), to show what an unattached probe costs.
#include <fiber/all.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

double ping_pong(long rounds) {
  fiber::Channel<long> there, back;
  auto echo = fiber::spawn([&] {
    while (auto value = there.receive()) back.send(*value);
  });
  const auto start = fiber::Clock::now();
  for (long i = 0; i < rounds; ++i) {
    there.send(i);
    back.receive();
  }
  const std::chrono::duration<double, std::nano> time = fiber::Clock::now() - start;
  there.close();
  echo.join();
  return time.count() / static_cast<double>(rounds);
}

double buffered(long rounds) {
  fiber::Channel<long> channel(128);
  const auto start = fiber::Clock::now();
  auto receiver = fiber::spawn([&] {
    while (channel.receive()) {
    }
  });
  for (long i = 0; i < rounds; ++i) channel.send(i);
  channel.close();
  receiver.join();
  const std::chrono::duration<double, std::nano> time = fiber::Clock::now() - start;
  return time.count() / static_cast<double>(rounds);
}

}  // namespace

int main(int count, char** arguments) {
  const char* name = count > 1 ? arguments[1] : "ping_pong";
  const int rounds = count > 2 ? std::atoi(arguments[2]) : 1;
  fiber::run(fiber::Options{.processors = 1}, [&] {
    for (int i = 0; i < rounds; ++i) {
      std::printf("%.3f\n", std::strcmp(name, "buffered") == 0 ? buffered(4'000'000) : ping_pong(500'000));
    }
  });
}
