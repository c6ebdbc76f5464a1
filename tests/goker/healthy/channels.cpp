// SPDX-License-Identifier: BSD-2-Clause
// Channels, contexts and limits.
#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "goker/healthy/healthy.h"

namespace healthy {

namespace {

void slow_producer(Time time) {
  fiber::Channel<int> channel;
  auto producer = fiber::spawn({.name = "producer"}, [time, to = channel.sender()]() mutable {
    for (int i = 0; i < 4; ++i) {
      burn(time / 4);
      to.send(i);
    }
    to.close();
  });
  while (channel.receive()) continue;
  producer.join();
}
const Registration r5({"5", "slow_producer", "the consumer waits while the producer computes", slow_producer});

void slow_consumer(Time time) {
  fiber::Channel<int> channel(2);
  auto consumer = fiber::spawn({.name = "consumer"}, [time, from = channel.receiver()]() mutable {
    for (int i = 0; i < 6; ++i) {
      if (i % 2 == 0) {
        burn(time / 6);
      } else {
        fiber::blocking([&] { sleep_thread(time / 6); });
      }
      from.receive();
    }
  });
  std::vector<fiber::JoinHandle<void>> all;
  for (int i = 0; i < 6; ++i) all.push_back(fiber::spawn([to = channel.sender()]() mutable { to.send(1); }));
  channel = fiber::Channel<int>();
  for (auto& handle : all) handle.join();
  consumer.join();
}
const Registration r6({"6", "slow_consumer", "senders wait while the receiver computes, or blocks its thread",
                       slow_consumer});

// Each selects on what nobody can send.
void select_with_timeout(Time time) {
  std::vector<fiber::JoinHandle<void>> all;
  all.push_back(fiber::spawn([time] {
    const fiber::Channel<int> dead;
    fiber::select(fiber::on_receive(dead, [](auto) {}), fiber::after(time, [] {}));
  }));
  all.push_back(fiber::spawn([time] {
    const fiber::Channel<int> dead;
    const fiber::Context context = fiber::with_timeout({}, time);
    fiber::select(fiber::on_receive(dead, [](auto) {}), fiber::on_done(context, [] {}));
  }));
  all.push_back(fiber::spawn([time] {
    fiber::Channel<int> dead;
    static_cast<void>(dead.receive(time));
  }));
  all.push_back(fiber::spawn([time] {
    fiber::Channel<int> dead;
    const fiber::Context context = fiber::with_timeout(fiber::with_timeout({}, time), 24h);
    static_cast<void>(dead.send(1, context));
  }));
  for (auto& handle : all) handle.join();
}
const Registration r7({"7", "select_with_timeout", "waits on dead channels that have a deadline", select_with_timeout});

void mutual_select(Time time) {
  fiber::Channel<int> one, other;
  const auto party = [time](fiber::Receiver<int> from, fiber::Sender<int> to) {
    fiber::select(fiber::on_receive(from, [](auto) {}), fiber::after(time, [] {}));
    fiber::select(fiber::on_send(to, 1, [] {}), fiber::after(1ms, [] {}));
  };
  auto a = fiber::spawn([&] { party(one, other); });
  auto b = fiber::spawn([&] { party(other, one); });
  a.join();
  b.join();
}
const Registration r7b({"7b", "mutual_select", "two that wait for each other, each with a time-out", mutual_select});

// A real cycle, again and again, that a limit opens.
void cycle_with_limit(Time time) {
  fiber::Mutex one, other;
  const auto end = fiber::Clock::now() + time;
  const auto party = [&](fiber::Mutex& first, fiber::Mutex& second, Time patience) {
    while (fiber::Clock::now() < end) {
      std::lock_guard guard(first);
      fiber::sleep_for(100us);
      if (second.lock(patience) == fiber::Status::done) second.unlock();
    }
  };
  auto a = fiber::spawn([&] { party(one, other, 3ms); });
  auto b = fiber::spawn([&] { party(other, one, 5ms); });
  a.join();
  b.join();
}
const Registration r7c({"7c", "cycle_with_limit", "two mutexes in both orders, with time-outs", cycle_with_limit});

// The writer that makes the second read lock wait gives up.
void reread_with_limit(Time time) {
  fiber::RwLock lock;
  lock.lock_shared();
  auto writer = fiber::spawn([&] { static_cast<void>(lock.lock(time)); });
  fiber::sleep_for(1ms);
  lock.lock_shared();
  lock.unlock_shared();
  lock.unlock_shared();
  writer.join();
}
const Registration r7d({"7d", "reread_with_limit", "a second read lock behind a writer with a time-out",
                        reread_with_limit});

std::map<std::string, fiber::Channel<int>> directory;

void late_sender(Time time) {
  directory["inbox"] = fiber::Channel<int>();
  auto waiter = fiber::spawn({.name = "waiter"}, [from = directory["inbox"].receiver()]() mutable { from.receive(); });
  auto keeper = later(time, [] { directory.at("inbox").send(1); });
  waiter.join();
  keeper.join();
  directory.clear();
}
const Registration r8({"8", "late_sender", "the channel is in a global map, and nobody has a sender yet", late_sender});

void sender_by_reference(Time time) {
  fiber::WaitGroup received(1);
  fiber::Channel<int> channel;
  auto receiver = fiber::spawn({.name = "receiver"}, [&received, from = channel.receiver()]() mutable {
    from.receive();
    received.done();
  });
  fiber::Sender<int> to = channel;
  auto child = later(time, [&to] { to.send(1); });
  received.wait();
  child.join();
  receiver.join();
}
const Registration r9({"9", "sender_by_reference", "a sleeping child uses the sender in its waiting parent's frame",
                       sender_by_reference});

void in_transit(Time time) {
  auto [sender, waiter] = await_value();
  fiber::Channel<fiber::Sender<int>> post(1);
  post.send(std::move(sender));
  auto keeper = later(time, [from = post.receiver()]() mutable { from.receive()->send(1); });
  post = fiber::Channel<fiber::Sender<int>>();
  waiter.join();
  keeper.join();
}
const Registration r10({"10", "in_transit", "the only sender is a message in a buffer", in_transit});

void in_nested_transit(Time time) {
  using Letter = std::unique_ptr<fiber::Sender<int>>;
  struct Parcel {
    std::vector<fiber::Receiver<Letter>> boxes;
  };
  auto [sender, waiter] = await_value();
  fiber::Channel<Letter> inner(3);
  inner.send(std::make_unique<fiber::Sender<int>>(std::move(sender)));
  fiber::Channel<Parcel> outer(2);
  outer.send(Parcel{{inner.receiver()}});
  inner = fiber::Channel<Letter>();
  auto keeper = later(time, [from = outer.receiver()]() mutable {
    auto parcel = from.receive();
    auto letter = parcel->boxes.front().receive();
    (*letter)->send(1);
  });
  outer = fiber::Channel<Parcel>();
  waiter.join();
  keeper.join();
}
const Registration r10b({"10b", "in_nested_transit", "the only sender is in a message in a channel in a message",
                         in_nested_transit});

void moving(Time time) {
  auto [sender, waiter] = await_value();
  auto one = std::make_unique<fiber::Sender<int>>(std::move(sender));
  auto other = std::make_unique<fiber::Sender<int>>();
  auto mover = fiber::spawn({.name = "mover"}, [time, one = std::move(one), other = std::move(other)] {
    const auto end = fiber::Clock::now() + time;
    for (int i = 0; fiber::Clock::now() < end; ++i) {
      *other = std::move(*one);
      *one = std::move(*other);
      if (i % 64 == 0) fiber::sleep_for(20us);
    }
    one->send(1);
  });
  waiter.join();
  mover.join();
}
const Registration r10c({"10c", "moving", "the only sender moves between two objects all the time", moving});

void passed_on(Time time) {
  using Post = fiber::Channel<fiber::Sender<int>>;
  auto [sender, waiter] = await_value();
  const Post there, back;
  const auto end = fiber::Clock::now() + time;
  auto one = fiber::spawn([end, to = there.sender(), from = back.receiver(), sent = std::move(sender)]() mutable {
    for (int i = 0; fiber::Clock::now() < end; ++i) {
      if (i % 64 == 0) fiber::sleep_for(20us);
      to.send(std::move(sent));
      sent = *from.receive();
    }
    to.close();
    sent.send(1);
  });
  auto other = fiber::spawn([from = there.receiver(), to = back.sender()]() mutable {
    while (auto received = from.receive()) to.send(std::move(*received));
  });
  waiter.join();
  one.join();
  other.join();
}
const Registration r10d({"10d", "passed_on", "the only sender is handed to and fro", passed_on});

// As a kernel's original does: waits for a context that nobody cancels, but looks up again and again.
void grpc_862_loop(Time time) {
  const auto end = fiber::Clock::now() + time;
  auto dialled = fiber::spawn({.name = "B"}, [end] {
    const fiber::CancelSource connection = fiber::with_cancel();
    for (Time backoff = 100us; fiber::Clock::now() < end; backoff = std::min<Time>(backoff * 3 / 2, 10ms)) {
      fiber::select(fiber::on_done(connection.context(), [] {}), fiber::after(backoff, [] {}));
    }
  });
  dialled.join();
}
const Registration r16({"16", "grpc_862_loop", "waits in vain, but never for long", grpc_862_loop});

void cancelled_in_the_end(Time time) {
  fiber::CancelSource source = fiber::with_cancel();
  auto waiter = fiber::spawn([context = source.context()] {
    fiber::Channel<int> dead;
    static_cast<void>(dead.receive(context));
  });
  auto child = fiber::spawn([context = source.context()] { fiber::with_cancel(context).context().wait(); });
  auto supervisor = later(time, [source = std::move(source)]() mutable { source.cancel(); });
  waiter.join();
  child.join();
  supervisor.join();
}
const Registration r14({"14", "cancelled_in_the_end",
                        "waits without a sender, with a context that a sleeper can cancel", cancelled_in_the_end});

void parent_with_deadline(Time time) {
  const fiber::Context parent = fiber::with_timeout({}, time);
  auto waiter = fiber::spawn([parent] { parent.wait(); });
  auto second = fiber::spawn([parent] {
    const fiber::CancelSource own = fiber::with_cancel(parent);
    fiber::Channel<int> dead;
    static_cast<void>(dead.receive(own.context()));
  });
  auto third = fiber::spawn([parent] {
    const fiber::CancelSource own = fiber::with_cancel(parent);
    own.context().wait();
  });
  waiter.join();
  second.join();
  third.join();
}
const Registration r14b({"14b", "parent_with_deadline", "the parent of the context has a deadline",
                         parent_with_deadline});

void cancelled_by_destructor(Time time) {
  auto source = std::make_unique<fiber::CancelSource>(fiber::Context());
  auto waiter = fiber::spawn([context = source->context()] { context.wait(); });
  auto keeper = later(time, [kept = std::move(source)] {});
  waiter.join();
  keeper.join();
}
const Registration r14c({"14c", "cancelled_by_destructor", "the end of a sleeper's closure cancels",
                         cancelled_by_destructor});

// What is cancelled when the process ends.
fiber::CancelSource& of_the_process() {
  static fiber::CancelSource source = fiber::with_cancel();
  return source;
}
void cancelled_at_exit(Time time) {
  fiber::go({.name = "waiter"}, [context = of_the_process().context()] { context.wait(); });
  fiber::sleep_for(time);
}
const Registration r14d({"14d", "cancelled_at_exit", "only a static object's destructor will cancel", cancelled_at_exit,
                         true});

}  // namespace

}  // namespace healthy
