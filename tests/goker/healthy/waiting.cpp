// SPDX-License-Identifier: BSD-2-Clause
// Everybody waits for somebody who sleeps.
#include <array>
#include <memory>
#include <mutex>
#include <shared_mutex>

#include "goker/healthy/healthy.h"

namespace healthy {

namespace {

using Handles = std::vector<fiber::JoinHandle<void>>;

void join_all(Handles& handles) {
  for (auto& handle : handles) handle.join();
}

// `sleeper` starts first and says that it has got what the others want by setting the flag it is given.
template <class Sleeper, class Waiter>
void sleeper_and_waiters(int waiters, Sleeper sleeper, Waiter waiter) {
  std::atomic<bool> has{false};
  Handles all;
  all.push_back(fiber::spawn({.name = "sleeper"}, [&] { sleeper(has); }));
  while (!has) fiber::yield();
  for (int i = 0; i < waiters; ++i) all.push_back(fiber::spawn({.name = "waiter"}, [&waiter, i] { waiter(i); }));
  join_all(all);
}

void long_sleeper(Time time) {
  fiber::Mutex mutex;
  sleeper_and_waiters(
      10,
      [&](std::atomic<bool>& has) {
        std::lock_guard guard(mutex);
        has = true;
        fiber::sleep_for(time);
      },
      [&](int) { std::lock_guard guard(mutex); });
}
const Registration r1({"1", "long_sleeper", "a sleeping fiber holds the mutex that ten wait for", long_sleeper});

void once_runner_sleeps(Time time) {
  fiber::Once once;
  const auto call = [&] { once.call([&] { fiber::sleep_for(time); }); };
  Handles all;
  for (int i = 0; i < 10; ++i) all.push_back(fiber::spawn(call));
  join_all(all);
}
const Registration r1b({"1b", "once_runner_sleeps", "a once is run by a fiber that sleeps", once_runner_sleeps});

void reader_sleeps(Time time) {
  fiber::RwLock lock;
  sleeper_and_waiters(
      10,
      [&](std::atomic<bool>& has) {
        std::shared_lock guard(lock);
        has = true;
        fiber::sleep_for(time);
      },
      [&](int i) {
        if (i % 2 == 0) {
          std::lock_guard guard(lock);
        } else {
          std::shared_lock guard(lock);
        }
      });
}
const Registration r1c({"1c", "reader_sleeps", "a sleeping fiber reads what writers and readers wait for",
                        reader_sleeps});

void reader_of_many(Time time) {
  std::array<fiber::RwLock, 8> locks;
  sleeper_and_waiters(
      8,
      [&](std::atomic<bool>& has) {
        for (fiber::RwLock& lock : locks) lock.lock_shared();
        has = true;
        fiber::sleep_for(time);
        for (fiber::RwLock& lock : locks) lock.unlock_shared();
      },
      [&](int i) { std::lock_guard guard(locks[static_cast<std::size_t>(i)]); });
}
const Registration r1d({"1d", "reader_of_many", "a sleeping fiber reads under more locks than its record has room for",
                        reader_of_many});

void permits(Time time) {
  fiber::Semaphore semaphore(3);
  sleeper_and_waiters(
      5,
      [&](std::atomic<bool>& has) {
        semaphore.acquire(2);
        has = true;
        fiber::sleep_for(time);
        semaphore.release(2);
      },
      [&](int) {
        semaphore.acquire(2);
        semaphore.release(2);
      });
}
const Registration r1e({"1e", "permits", "a sleeping fiber has the permits that others wait for", permits});

void barrier(Time time) {
  fiber::Barrier barrier(6);
  sleeper_and_waiters(
      5,
      [&](std::atomic<bool>& has) {
        has = true;
        fiber::sleep_for(time);
        barrier.arrive_and_wait();
      },
      [&](int) { barrier.arrive_and_wait(); });
}
const Registration r1f({"1f", "barrier", "the last party of a barrier sleeps", barrier});

void join_chain(Time time) {
  fiber::JoinHandle<void> last = fiber::spawn({.name = "root"}, [time] { fiber::sleep_for(time); });
  for (int i = 0; i < 50; ++i) {
    last = fiber::spawn({.name = "link"}, [before = std::move(last)]() mutable { before.join(); });
  }
  last.join();
}
const Registration r1g({"1g", "join_chain", "each of fifty joins the one before, and the first sleeps", join_chain});

// A wait of every kind, one behind the other.
void long_way(Time time) {
  struct Objects {
    fiber::Mutex mutex;
    fiber::RwLock lock;
    fiber::Once once;
    fiber::Semaphore semaphore{1};
    fiber::Channel<int> channel;
  };
  auto objects = std::make_shared<Objects>();
  std::atomic<int> step{0};
  const auto reached = [&](int wanted) {
    while (step < wanted) fiber::yield();
  };
  Handles all;
  all.push_back(fiber::spawn([&, objects] {
    std::lock_guard guard(objects->mutex);
    step = 1;
    fiber::sleep_for(time);
  }));
  all.push_back(fiber::spawn([&, objects] {
    reached(1);
    std::shared_lock guard(objects->lock);
    step = 2;
    std::lock_guard mutex_guard(objects->mutex);
  }));
  all.push_back(fiber::spawn([&, objects] {
    reached(2);
    objects->once.call([&] {
      step = 3;
      std::lock_guard guard(objects->lock);
    });
  }));
  all.push_back(fiber::spawn([&, objects] {
    reached(3);
    objects->semaphore.acquire();
    step = 4;
    objects->once.call([] {});
    objects->semaphore.release();
  }));
  all.push_back(fiber::spawn([&, objects] {
    reached(4);
    objects->semaphore.acquire();
    objects->channel.send(1);
  }));
  all.push_back(fiber::spawn([objects] { objects->channel.receive(); }));
  objects.reset();
  join_all(all);
}
const Registration r1h({"1h", "long_way", "a chain through a wait of every kind ends at a sleeper", long_way});

// A hundred stages, the first of which is fed by a sleeper.
void pipeline(Time time) {
  fiber::Channel<int> first;
  fiber::Receiver<int> from = first.receiver();
  Handles all;
  for (int i = 0; i < 100; ++i) {
    const fiber::Channel<int> next;
    all.push_back(fiber::spawn({.name = "stage"}, [from, to = next.sender()]() mutable {
      while (auto value = from.receive()) to.send(*value);
      to.close();
    }));
    from = next.receiver();
  }
  all.push_back(later(time, [first = first.sender()]() mutable {
    first.send(1);
    first.close();
  }));
  static_cast<fiber::Sender<int>&>(first) = {};
  while (from.receive()) continue;
  join_all(all);
}
const Registration r1i({"1i", "pipeline", "a hundred stages wait for a source that sleeps", pipeline});

void condition_fed_by_timer(Time time) {
  struct State {
    fiber::Mutex mutex;
    fiber::Condition changed;
    bool ready = false;
  };
  auto state = std::make_shared<State>();
  Handles all;
  for (int i = 0; i < 5; ++i) {
    all.push_back(fiber::spawn({.name = "waiter"}, [state] {
      std::unique_lock guard(state->mutex);
      state->changed.wait(guard, [&] { return state->ready; });
    }));
  }
  const fiber::Timer timer(time, [state] {
    std::lock_guard guard(state->mutex);
    state->ready = true;
    state->changed.notify_all();
  });
  state.reset();
  join_all(all);
}
const Registration r4({"4", "condition_fed_by_timer", "the only one to notify is a timer's function",
                       condition_fed_by_timer});

void timer_sends(Time time) {
  auto [sender, waiter] = await_value();
  const fiber::Timer timer(time, [sender = std::move(sender)]() mutable { sender.send(1); });
  waiter.join();
}
const Registration r4b({"4b", "timer_sends", "the only sender is in the function of an armed timer", timer_sends});

void timer_channels(Time time) {
  Handles all;
  all.push_back(fiber::spawn([time] {
    const fiber::Timer timer(time);
    timer.channel().receive();
  }));
  // Nobody who runs has the timers themselves.
  fiber::Timer timer(time);
  fiber::Ticker ticker(time / 4);
  all.push_back(fiber::spawn([from = timer.channel()]() mutable { from.receive(); }));
  all.push_back(fiber::spawn([from = ticker.channel()]() mutable {
    for (int i = 0; i < 4; ++i) from.receive();
  }));
  all.push_back(fiber::spawn([other = ticker.channel()] {
    fiber::Channel<int> never;
    fiber::select(fiber::on_receive(never, [](auto) {}), fiber::on_receive(other, [](auto) {}));
  }));
  join_all(all);
}
const Registration r4c({"4c", "timer_channels", "receivers of the channels of timers and tickers", timer_channels});

void tokens(Time time) {
  auto group = std::make_shared<fiber::WaitGroup>();
  std::vector<fiber::WaitGroup::Token> some;
  for (int i = 0; i < 5; ++i) some.push_back(group->token());
  auto keeper = later(time, [held = std::move(some)]() mutable { held.clear(); });
  Handles all;
  for (int i = 0; i < 3; ++i) all.push_back(fiber::spawn([group] { group->wait(); }));
  join_all(all);
  keeper.join();
}
const Registration r17({"17", "tokens", "tokens of a wait group in the closure of a sleeping fiber", tokens});

void raw_group(Time time) {
  auto group = std::make_shared<fiber::WaitGroup>(2);
  auto first = later(time, [group] { group->done(); });
  auto second = later(time / 2, [done = group] { done->done(); });
  group->wait();
  first.join();
  second.join();
}
const Registration r17b({"17b", "raw_group", "a wait group counted down by fibers that sleep", raw_group});

}  // namespace

}  // namespace healthy
