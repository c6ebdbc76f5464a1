// SPDX-License-Identifier: BSD-2-Clause
// Not of the catalogue: cycles that lead through locks and through what only one fiber could do, with others behind
// them.
#include "goker/kernels/kernel.h"

namespace goker {

namespace {

// A waits, with the lock, for a message that B would send once it has the lock.
void lock_and_message(bool fixed, int behind) {
  const auto mutex = std::make_shared<fiber::Mutex>();
  fiber::Channel<int> channel(fixed ? 1 : 0);
  fiber::go({.name = "A"}, [=, from = channel.receiver()]() mutable {
    std::unique_lock guard(*mutex);
    until([&] { return waits(mutex.get()); });
    if (fixed) guard.unlock();
    from.receive();
  });
  const auto locks_first = [=] {
    until([&] { return mutex->try_lock() ? (mutex->unlock(), false) : true; });
    std::lock_guard guard(*mutex);
  };
  fiber::go({.name = "B"}, [=, to = channel.sender()]() mutable {
    locks_first();
    to.send(1);
  });
  if (behind == 0) return;
  auto c = fiber::spawn({.name = "C"}, locks_first);
  fiber::go({.name = "D"}, locks_first);
  fiber::go({.name = "E"}, [c = std::move(c)]() mutable { c.join(); });
}
const Registration r1({"lock_and_message", "mixed", "reach+id", "A,B", "",
                       [](bool fixed) { lock_and_message(fixed, 0); }, 200, "", true});
const Registration r2({"lock_message_crowd", "mixed", "reach+id", "A,B,C,D,E", "",
                       [](bool fixed) { lock_and_message(fixed, 1); }, 200, "", true});

// Each has what the other one waits for before it gives its own.
void cross_receive(bool fixed) {
  const fiber::Channel<int> one(1), other(1);
  const auto exchange = [](fiber::Sender<int> to, fiber::Receiver<int> from, bool sends_first) {
    if (sends_first) to.send(1);
    from.receive();
    if (!sends_first) to.send(1);
  };
  fiber::go({.name = "A"}, [=, to = one.sender(), from = other.receiver()] { exchange(to, from, fixed); });
  fiber::go({.name = "B"}, [=, to = other.sender(), from = one.receiver()] { exchange(to, from, false); });
}
const Registration r3({"cross_receive", "communication", "reach", "A,B", "", cross_receive, 200, "", true});

// A waits for B, which waits for a message of A's.
void group_and_message(bool fixed) {
  const fiber::Channel<int> channel(1);
  auto group = std::make_shared<fiber::WaitGroup>();
  fiber::go({.name = "B"}, [token = group->token(), from = channel.receiver()]() mutable {
    from.receive();
    token.done();
  });
  fiber::go({.name = "A"}, [=, group = std::move(group), to = channel.sender()]() mutable {
    if (fixed) to.send(1);
    group->wait();
    to.send(1);
  });
}
const Registration r4({"group_and_message", "mixed", "reach", "A,B", "", group_and_message, 200, "", true});

// A waits, with the lock, for a message that nobody can send; the others wait for the lock and for each other's end.
void leak_crowd(bool fixed) {
  const auto mutex = std::make_shared<fiber::Mutex>();
  std::optional<fiber::Channel<int>> channel(1);
  fiber::go({.name = "A"}, [=, from = channel->receiver()]() mutable {
    std::unique_lock guard(*mutex);
    until([&] { return waits(mutex.get(), 2); });
    if (fixed) guard.unlock();
    from.receive();
  });
  const auto locks = [=] {
    until([&] { return mutex->try_lock() ? (mutex->unlock(), false) : true; });
    std::lock_guard guard(*mutex);
  };
  fiber::go({.name = "B"}, locks);
  auto c = fiber::spawn({.name = "C"}, locks);
  fiber::go({.name = "D"}, [c = std::move(c)]() mutable { c.join(); });
  if (fixed) fiber::Sender<int>(*channel).send(1);
  channel.reset();
}
const Registration r5({"leak_crowd", "mixed", "reach+id", "A,B,C,D", "A,B,C,D", leak_crowd, 200, "", true});

// The sender is on A's stack; B, which was given it by reference, waits for the lock that C has.
void by_reference(bool fixed) {
  const auto mutex = std::make_shared<fiber::Mutex>();
  fiber::Channel<int> channel(1);
  fiber::go({.name = "C"}, [=, from = channel.receiver()]() mutable {
    std::unique_lock guard(*mutex);
    until([&] { return waits(mutex.get()); });
    if (fixed) guard.unlock();
    from.receive();
  });
  fiber::go({.name = "A"}, [=, to = channel.sender()]() mutable {
    auto b = fiber::spawn({.name = "B"}, [&to, mutex] {
      until([&] { return mutex->try_lock() ? (mutex->unlock(), false) : true; });
      std::lock_guard guard(*mutex);
      to.send(1);
    });
    b.join();
  });
}
const Registration r6({"by_reference", "mixed", "reach+id", "A,B,C", "", by_reference, 200, "", true});

}  // namespace

}  // namespace goker
