// SPDX-License-Identifier: BSD-2-Clause
// many_parked FIBERS
//
// So many fibers that wait for ever: nine of ten to receive from one of a hundred channels, the others for a mutex that
// is held. Writes "ready" when all of them are at their wait or about to begin it, ends when its standard input does.
#include <fiber/all.h>

#include <unistd.h>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace app {

[[gnu::noinline]] void wait_for_work(fiber::Channel<int>& channel) {
  channel.receive();
  asm volatile("");
}

[[gnu::noinline]] void wait_for_turn(fiber::Mutex& mutex) {
  mutex.lock();
  mutex.unlock();
}

}  // namespace app

int main(int count, char** arguments) {
  const int fibers = count > 1 ? std::atoi(arguments[1]) : 1000;
  fiber::run(fiber::Options{.processors = 2}, [&] {
    std::vector<fiber::Channel<int>> channels(100);
    fiber::Mutex mutex;
    fiber::WaitGroup arrived(fibers), ended(fibers);
    mutex.lock();
    for (int i = 0; i < fibers; ++i) {
      if (i % 10 == 0)
        fiber::go([&] {
          arrived.done();
          app::wait_for_turn(mutex);
          ended.done();
        });
      else
        fiber::go([&, i] {
          arrived.done();
          app::wait_for_work(channels[static_cast<std::size_t>(i) % 100]);
          ended.done();
        });
    }
    arrived.wait();
    if (write(STDOUT_FILENO, "ready\n", 6) != 6) return;
    fiber::blocking([] {
      char c;
      while (read(STDIN_FILENO, &c, 1) > 0) {
      }
    });
    for (auto& channel : channels) channel.close();
    mutex.unlock();
    ended.wait();
  });
}
