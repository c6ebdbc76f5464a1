// SPDX-License-Identifier: BSD-2-Clause
// parked
//
// One fiber in each kind of wait, for ever, each in a function named after it, so that a reader of the registry from
// outside knows what stack to find. A ticker keeps the process from being declared deadlocked.
#include <fiber/all.h>

#include <chrono>
#include <mutex>

namespace app {

using namespace std::chrono_literals;

// Keeps a call from becoming a jump, which would take the frame away.
#define STAYS asm volatile("")

[[gnu::noinline]] void wait_to_receive(fiber::Channel<int>& channel) {
  channel.receive();
  STAYS;
}
[[gnu::noinline]] void wait_to_send(fiber::Channel<int>& channel) {
  channel.send(1);
  STAYS;
}
[[gnu::noinline]] void wait_in_select(fiber::Channel<int>& a, fiber::Channel<int>& b) {
  fiber::select(fiber::on_receive(a, [](auto) {}), fiber::on_receive(b, [](auto) {}));
  STAYS;
}
[[gnu::noinline]] void wait_for_mutex(fiber::Mutex& mutex) {
  mutex.lock();
  STAYS;
}
[[gnu::noinline]] void wait_for_condition(fiber::Mutex& mutex, fiber::Condition& condition) {
  std::unique_lock lock(mutex);
  condition.wait(lock);
  STAYS;
}
[[gnu::noinline]] void wait_for_group(fiber::WaitGroup& group) {
  group.wait();
  STAYS;
}
[[gnu::noinline]] void wait_for_time() {
  fiber::sleep_for(24h);
  STAYS;
}
[[gnu::noinline]] void wait_deep_down(int depth, fiber::Channel<int>& channel) {
  if (depth == 0)
    wait_to_receive(channel);
  else
    wait_deep_down(depth - 1, channel);
  STAYS;
}

}  // namespace app

int main() {
  fiber::run([] {
    using namespace std::chrono_literals;
    static fiber::Channel<int> never, nobody, a, b;
    static fiber::Mutex held, guard;
    static fiber::Condition condition;
    static fiber::WaitGroup group;
    fiber::set_name("ticker");
    held.lock();
    group.add();
    fiber::go({.name = "receive"}, [] {
      app::wait_to_receive(never);
      STAYS;
    });
    fiber::go({.name = "send"}, [] {
      app::wait_to_send(nobody);
      STAYS;
    });
    fiber::go({.name = "select"}, [] {
      app::wait_in_select(a, b);
      STAYS;
    });
    fiber::go({.name = "mutex"}, [] {
      app::wait_for_mutex(held);
      STAYS;
    });
    fiber::go({.name = "condition"}, [] {
      app::wait_for_condition(guard, condition);
      STAYS;
    });
    fiber::go({.name = "group"}, [] {
      app::wait_for_group(group);
      STAYS;
    });
    fiber::go({.name = "sleep"}, [] {
      app::wait_for_time();
      STAYS;
    });
    fiber::go({.name = "deep"}, [] {
      app::wait_deep_down(40, never);
      STAYS;
    });
    for (;;) fiber::sleep_for(100ms);
  });
}
