// SPDX-License-Identifier: BSD-2-Clause
// Waits when it is told to, and is quiet otherwise: for each line "N" of its input N round trips over a channel and as
// many sleeps, 2,000 at most, then "done". Whoever looks meanwhile finds every processor idle. Says "ready" first.
// Three fibers wait for ever.
#include <fiber/all.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>

namespace {

void rounds(long count) {
  fiber::Channel<long> there, back;
  auto echo = fiber::spawn([&] {
    while (auto value = there.receive()) back.send(*value);
  });
  auto sleeper = fiber::spawn([count] {
    for (long i = 0; i < std::min(count, 2'000l); ++i) fiber::sleep_for(std::chrono::microseconds(50));
  });
  for (long i = 0; i < count; ++i) {
    there.send(i);
    back.receive();
  }
  there.close();
  echo.join();
  sleeper.join();
}

}  // namespace

int main() {
  fiber::run(fiber::Options{.processors = 2}, [] {
    fiber::Channel<long> orders, never;
    for (int i = 0; i < 3; ++i) fiber::go([never]() mutable { (void)never.receive(); });
    std::thread reader([orders]() mutable {  // no fiber: its waiting for input keeps no processor busy
      char line[32];
      std::puts("ready");
      std::fflush(stdout);
      while (std::fgets(line, sizeof line, stdin) != nullptr) orders.send(std::atol(line));
      orders.send(-1);
    });
    for (auto count = orders.receive(); count && *count >= 0; count = orders.receive()) {
      rounds(*count);
      std::puts("done");
      std::fflush(stdout);
    }
    reader.join();
    std::_Exit(0);
  });
}
