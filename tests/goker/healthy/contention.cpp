// SPDX-License-Identifier: BSD-2-Clause
// What looks like a cycle when its parts are looked at one after the other.
#include <algorithm>
#include <array>
#include <memory>
#include <mutex>
#include <shared_mutex>

#include "goker/healthy/healthy.h"

namespace healthy {

namespace {

// Runs `step(party, turn)` in a fiber for each party until the time is over, at a pace that leaves others some of the
// machine.
template <class Step>
void keep_busy(Time time, int parties, Step step) {
  const auto end = fiber::Clock::now() + time;
  std::vector<fiber::JoinHandle<void>> all;
  for (int party = 0; party < parties; ++party) {
    all.push_back(fiber::spawn({.name = "party"}, [&step, end, party] {
      for (unsigned turn = 0; fiber::Clock::now() < end; ++turn) {
        step(static_cast<unsigned>(party), turn);
        if (turn % 64 == 63) fiber::sleep_for(50us);
      }
    }));
  }
  for (auto& handle : all) handle.join();
}

void philosophers(Time time) {
  std::array<fiber::Mutex, 5> forks;
  keep_busy(time, 5, [&](unsigned party, unsigned) {
    fiber::Mutex& left = forks[party];
    fiber::Mutex& right = forks[(party + 1) % forks.size()];
    std::lock_guard guard(left);
    for (int patience = 0; patience < 3; ++patience) {
      if (right.try_lock()) {
        fiber::yield();
        right.unlock();
        break;
      }
      fiber::yield();
    }
  });
}
const Registration r12({"12", "philosophers", "a ring of locks, tried with back-off", philosophers});

void ordered_locks(Time time) {
  std::array<fiber::Mutex, 4> locks;
  keep_busy(time, 8, [&](unsigned party, unsigned turn) {
    const std::size_t first = (party + turn) % 3;
    const std::size_t second = first + 1 + turn % (3 - first);
    std::lock_guard guard(locks[first]);
    if (turn % 4 == 0) fiber::yield();
    std::lock_guard second_guard(locks[second]);
    fiber::yield();
  });
}
const Registration r12b({"12b", "ordered_locks", "ordered locks under contention", ordered_locks});

// The order of the locks is that of the moment.
void changing_order(Time time) {
  fiber::Mutex phase, one, other;
  bool one_first = true;
  keep_busy(time, 6, [&](unsigned party, unsigned turn) {
    std::unique_lock phase_guard(phase);
    if ((turn + party) % 16 == 0) one_first = !one_first;
    fiber::Mutex& first = one_first ? one : other;
    fiber::Mutex& second = one_first ? other : one;
    std::lock_guard guard(first);
    std::lock_guard second_guard(second);
    phase_guard.unlock();
    fiber::yield();
  });
}
const Registration r12c({"12c", "changing_order", "both orders of two locks, under a third", changing_order});

// Objects and fibers that are gone a moment later, and others in their memory.
void vanishing(Time time) {
  keep_busy(time, 2, [](unsigned, unsigned turn) {
    auto mutex = std::make_unique<fiber::Mutex>();
    auto table = std::make_unique<fiber::RwLock>();
    fiber::Channel<int> channel(turn % 2);
    auto waiter = fiber::spawn([&, to = channel.sender()]() mutable {
      {
        std::lock_guard guard(*mutex);
        std::shared_lock table_guard(*table);
        fiber::yield();
      }
      to.send(1);
    });
    {
      std::lock_guard guard(*mutex);
      std::lock_guard table_guard(*table);
      fiber::yield();
    }
    channel.receive();
    waiter.join();
  });
}
const Registration r12d({"12d", "vanishing", "locks, channels and fibers that live for a moment", vanishing});

void ping_pong(Time time) {
  keep_busy(time, 10, [](unsigned, unsigned) {
    fiber::Channel<int> there, back;
    auto echo = fiber::spawn([from = there.receiver(), to = back.sender()]() mutable {
      while (auto value = from.receive()) to.send(*value);
    });
    for (int i = 0; i < 32; ++i) {
      there.send(i);
      back.receive();
    }
    there.close();
    echo.join();
  });
}
const Registration r12e({"12e", "ping_pong", "pairs of which one always waits for the other", ping_pong});

void turns(Time time) {
  fiber::Mutex mutex;
  fiber::Condition next;
  unsigned whose = 0;
  std::atomic<unsigned> left{5};
  const auto end = fiber::Clock::now() + time;
  std::vector<fiber::JoinHandle<void>> all;
  for (unsigned party = 0; party < 5; ++party) {
    all.push_back(fiber::spawn({.name = "party"}, [&, party] {
      for (bool over = false; !over;) {
        std::unique_lock guard(mutex);
        next.wait(guard, [&] { return whose == party; });
        over = fiber::Clock::now() >= end;
        whose = (whose + 1) % 5;
        next.notify_all();
        if (party == 0 && !over) {
          guard.unlock();
          fiber::sleep_for(20us);
        }
      }
    }));
  }
  for (auto& handle : all) handle.join();
}
const Registration r12f({"12f", "turns", "five take turns on one condition", turns});

void convoy(Time time) {
  fiber::RwLock lock;
  std::atomic<bool> reading{false};
  std::vector<fiber::JoinHandle<void>> all;
  all.push_back(fiber::spawn({.name = "slow reader"}, [&] {
    std::shared_lock guard(lock);
    reading = true;
    fiber::sleep_for(time / 2);
    burn(time / 4);
  }));
  while (!reading) fiber::yield();
  all.push_back(fiber::spawn({.name = "writer"}, [&] { std::lock_guard guard(lock); }));
  for (int i = 0; i < 10; ++i) {
    all.push_back(fiber::spawn({.name = "reader"}, [&] {
      std::shared_lock guard(lock);
      fiber::yield();
    }));
  }
  for (auto& handle : all) handle.join();
}
const Registration r13({"13", "convoy", "readers behind a writer behind one slow reader", convoy});

void recursive_reads(Time time) {
  fiber::RwLock lock;
  const auto end = fiber::Clock::now() + time;
  std::vector<fiber::JoinHandle<void>> all;
  for (int i = 0; i < 4; ++i) {
    all.push_back(fiber::spawn([&] {
      while (fiber::Clock::now() < end) {
        std::shared_lock guard(lock);
        fiber::sleep_for(200us);
        std::shared_lock again(lock);
        fiber::sleep_for(200us);
      }
    }));
  }
  for (auto& handle : all) handle.join();
}
const Registration r13b({"13b", "recursive_reads", "read locks taken twice, and no writer", recursive_reads});

void readers_and_writers(Time time) {
  fiber::RwLock lock;
  keep_busy(time, 8, [&](unsigned party, unsigned turn) {
    if ((party + turn) % 4 == 0) {
      std::lock_guard guard(lock);
      fiber::yield();
    } else {
      std::shared_lock guard(lock);
      fiber::yield();
    }
  });
}
const Registration r13c({"13c", "readers_and_writers", "readers and writers in turn, always some waiting",
                         readers_and_writers});

}  // namespace

}  // namespace healthy
