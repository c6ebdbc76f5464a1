// SPDX-License-Identifier: BSD-2-Clause
// thread_waits
//
// A thread that is no fiber holds a mutex and receives from a channel, for ever; a fiber wants the mutex ("wants"), and
// another receives from the same channel ("receives").
#include <fiber/all.h>

#include <chrono>
#include <thread>

int main() {
  using namespace std::chrono_literals;
  static fiber::Mutex mutex;
  static fiber::Channel<int> channel;
  fiber::run([] {
    fiber::go({.name = "receives"}, [] { channel.receive(); });
    fiber::WaitGroup locked(1);
    std::thread([&] {
      mutex.lock();
      locked.done();
      channel.receive();
    }).detach();
    locked.wait();
    fiber::go({.name = "wants"}, [] { mutex.lock(); });
    fiber::sleep_for(1h);
  });
}
