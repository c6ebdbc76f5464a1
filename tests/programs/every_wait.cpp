// SPDX-License-Identifier: BSD-2-Clause
// every_wait
//
// One fiber in each kind of wait there is, for ever, on objects with names, held by fibers with names: what a dump has
// to explain. The fiber "last" is spawned when all others wait.
#include <fiber/all.h>

#include <unistd.h>
#include <chrono>
#include <mutex>
#include <shared_mutex>

namespace app {

using namespace std::chrono_literals;

fiber::Channel<int> full(2, "full"), never(0, "never");
fiber::Mutex ledger("ledger");
fiber::RwLock book("book");
fiber::Once setup("setup");
fiber::Semaphore permits(1, 4, "permits");
fiber::Barrier start(3, "start");
fiber::WaitGroup group(2, "group");

void sleep_long() { fiber::sleep_for(1h); }

// Returns when it waits: on one processor a fiber that yields comes after all that can run.
template <class F>
void spawn(const char* name, F function) {
  fiber::go({.name = name}, [function] {
    function();
    asm volatile("");  // keeps the call from becoming a jump, which would take the frame away
  });
  for (int i = 0; i < 3; ++i) fiber::yield();
}

}  // namespace app

int main() {
  using namespace std::chrono_literals;
  using namespace app;
  fiber::run(fiber::Options{.processors = 1}, [] {
    fiber::set_name("main");
    spawn("holder", [] {
      std::lock_guard guard(ledger);
      never.receive();
    });
    spawn("wants", [] { std::lock_guard guard(ledger); });
    spawn("sender", [] {
      for (int i = 0; i < 3; ++i) full.send(i);
    });
    spawn("nil", [] { fiber::Receiver<int>().receive(); });
    spawn("selector", [] { fiber::select(fiber::on_receive(never, [](auto) {}), fiber::on_send(full, 7, [] {})); });
    spawn("empty", [] { fiber::select(); });
    spawn("reader", [] {
      std::shared_lock guard(book);
      sleep_long();
    });
    spawn("writer", [] { std::unique_lock guard(book); });
    spawn("runner", [] { setup.call(sleep_long); });
    spawn("waiter", [] { setup.call([] {}); });
    spawn("permit", [] { permits.acquire(2); });
    spawn("early", [] { start.arrive_and_wait(); });
    spawn("group", [] { group.wait(); });
    spawn("joiner", [] { fiber::spawn({.name = "joined"}, sleep_long).join(); });
    spawn("limited", [] { never.receive(30min); });
    spawn("context", [] {
      const fiber::CancelSource source = fiber::with_cancel();
      source.context().wait();
    });
    spawn("io", [] {
      auto [ours, theirs] = fiber::UnixStream::pair();
      char c;
      ours.read(&c, 1);
    });
    spawn("blocker", [] { fiber::blocking([] { pause(); }); });
    spawn("last", sleep_long);
    sleep_long();
  });
}
