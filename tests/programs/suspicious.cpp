// SPDX-License-Identifier: BSD-2-Clause
// suspicious bad|good|spin|poll MILLISECONDS
//
// Programs in which nobody is deadlocked. The bad one has each kind of thing that looks wrong by age and count, the
// good one what is nearly the same and fine. "spin" and "poll" are such a pair, too, apart because they keep processors
// busy: fibers that poll channels for nothing, and fibers that poll while they work. Writes "ready" when every wait
// that is to be old is so many milliseconds old, ends when its standard input does.
#include <fiber/all.h>

#include <unistd.h>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace app {

using namespace std::chrono_literals;

// Somebody may send, and nobody does; the workers' jobs come now and then.
fiber::Channel<int> replies, others, jobs;

// Keeps a call from becoming a jump, which would take the frame away.
#define STAYS asm volatile("")

[[gnu::noinline]] void wait_for_reply(fiber::Channel<int>& reply) {
  reply.receive();
  STAYS;
}
[[gnu::noinline]] void work() {
  while (jobs.receive()) STAYS;
}
[[gnu::noinline]] void ignore_cancel(const fiber::Context&) {
  others.receive();
  STAYS;
}
[[gnu::noinline]] void heed_cancel(const fiber::Context& request) {
  const fiber::Context step = fiber::with_timeout(request, 1ns);
  others.receive(request);
  STAYS;
}
[[gnu::noinline]] void cancel_and_wait() {
  fiber::CancelSource stop = fiber::with_cancel();
  stop.cancel();
  others.receive();
  STAYS;
}
[[gnu::noinline]] void left_behind() {
  others.receive();
  STAYS;
}
[[gnu::noinline]] void wait_with_deadline(std::chrono::milliseconds time) {
  others.receive(time);
  STAYS;
}

void spawn_children(int count) {
  for (int i = 0; i < count; ++i) fiber::go({.name = "child"}, [] { left_behind(); });
}

// So many at a time, for ever.
void keep_spawning(std::chrono::milliseconds time) {
  for (;;) {
    for (int i = 0; i < 4; ++i) fiber::go([time] { wait_with_deadline(time); });
    fiber::sleep_for(20ms);
  }
}

void start_bad() {
  static fiber::CancelSource request = fiber::with_cancel();
  // One after the other, for longer than a second.
  static std::vector<fiber::Channel<int>> answers(30);
  for (fiber::Channel<int>& answer : answers) {
    fiber::go({.name = "asker"}, [&answer] { wait_for_reply(answer); });
    fiber::sleep_for(50ms);
  }
  for (int i = 0; i < 3; ++i)
    fiber::go({.name = "deaf"}, [context = request.context()] {
      ignore_cancel(context);
      STAYS;
    });
  fiber::spawn([] { spawn_children(5); }).join();
  fiber::go([] { keep_spawning(1h); });
  request.cancel();
}

void start_good() {
  static fiber::CancelSource request = fiber::with_cancel();
  for (int i = 0; i < 30; ++i) fiber::go({.name = "worker"}, [] { work(); });
  fiber::go([] {
    for (;; fiber::sleep_for(100ms)) jobs.send(1);
  });
  fiber::go([] { heed_cancel(request.context()); });
  fiber::go([] { cancel_and_wait(); });
  fiber::go([] {
    spawn_children(5);
    fiber::sleep_for(1h);
  });
  fiber::go([] { wait_with_deadline(1h); });
  fiber::go([] { keep_spawning(100ms); });
  fiber::go([] { fiber::spawn([] { fiber::sleep_for(1h); }).join(); });
  fiber::go([] { request.context().wait(); });
}

// How many fibers have begun.
std::atomic<int> begun;
std::atomic<std::uint64_t> worked;

[[gnu::noinline]] void spin_on_select() {
  fiber::Channel<int> results;
  const fiber::Channel<bool> stop;
  for (++begun;;)
    fiber::select(fiber::on_receive(replies, [](auto) {}), fiber::on_receive(stop, [](auto) {}),
                  fiber::on_send(results, 1, [] {}), fiber::otherwise([] {}));
}
[[gnu::noinline]] void spin_and_yield() {
  for (++begun; !replies.try_receive();) fiber::yield();
}

[[gnu::noinline]] void some_work() {
  for (int i = 0; i < 2000; ++i) worked.fetch_add(1, std::memory_order_relaxed);
}
// A batch: asks after each item whether it is to stop.
[[gnu::noinline]] void work_and_poll() {
  const fiber::Channel<bool> stop;
  bool stopped = false;
  for (++begun; !stopped;) {
    some_work();
    fiber::select(fiber::on_receive(stop, [&](auto) { stopped = true; }), fiber::otherwise([] {}));
  }
}
// The same with items that are short and wait for nobody.
[[gnu::noinline]] void pass_on_and_poll() {
  fiber::Channel<std::uint64_t> items(1);
  fiber::Channel<bool> stop;
  for (++begun; !stop.try_receive();) {
    for (int i = 0; i < 10; ++i) {
      items.send(worked.load(std::memory_order_relaxed) + 1);
      worked.store(*items.receive(), std::memory_order_relaxed);
    }
    fiber::yield();
  }
}
// Asks very often, and every now and then there is something.
[[gnu::noinline]] void poll_for_little() {
  fiber::Channel<int> inbox(1);
  ++begun;
  for (int i = 0;; ++i) {
    if (i % 1000 == 0) inbox.send(i);
    while (inbox.try_receive()) worked.fetch_add(1, std::memory_order_relaxed);
    fiber::yield();
  }
}

int start_spinning() {
  fiber::go({.name = "spinner"}, [] { spin_on_select(); });
  fiber::go({.name = "yielder"}, [] { spin_and_yield(); });
  return 2;
}

int start_polling() {
  fiber::go([] { work_and_poll(); });
  fiber::go([] { pass_on_and_poll(); });
  fiber::go([] { poll_for_little(); });
  return 3;
}

int start(const char* how) {
  if (std::strcmp(how, "spin") == 0) return start_spinning();
  if (std::strcmp(how, "poll") == 0) return start_polling();
  std::strcmp(how, "bad") == 0 ? start_bad() : start_good();
  return 0;
}

}  // namespace app

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const std::chrono::milliseconds time(std::atoi(arguments[2]));
  fiber::run(fiber::Options{.processors = 2}, [&] {
    for (const int all = app::start(arguments[1]); app::begun != all;) fiber::sleep_for(std::chrono::milliseconds(1));
    fiber::sleep_for(time);
    if (write(STDOUT_FILENO, "ready\n", 6) != 6) return;
    fiber::blocking([] {
      char c;
      while (read(STDIN_FILENO, &c, 1) > 0) {
      }
      _exit(0);  // nobody will end the waits
    });
  });
}
