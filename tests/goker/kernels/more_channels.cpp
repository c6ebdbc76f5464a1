// SPDX-License-Identifier: BSD-2-Clause
// Not of the catalogue: what waits for messages, ends and signals that cannot come, in further ways.
#include "goker/kernels/kernel.h"

namespace goker {

namespace {

void nil_channel(bool fixed) {
  fiber::go({.name = "A"}, [fixed] {
    fiber::Receiver<int> from;
    if (fixed) {
      const fiber::Channel<int> real(1);
      fiber::Sender<int>(real).send(1);
      from = real;
    }
    from.receive();
  });
}
const Registration r1({"nil_channel", "communication", "id", "A", "A", nil_channel, 200, "", true});

// Two that each have the only other handle to the channel that the other one waits on.
void cross_send(bool fixed) {
  const fiber::Channel<int> one(fixed ? 1 : 0), other(fixed ? 1 : 0);
  const auto exchange = [](fiber::Sender<int> to, fiber::Receiver<int> from) {
    to.send(1);
    from.receive();
  };
  fiber::go({.name = "A"}, [=, to = one.sender(), from = other.receiver()] { exchange(to, from); });
  fiber::go({.name = "B"}, [=, to = other.sender(), from = one.receiver()] { exchange(to, from); });
}
const Registration r2({"cross_send", "communication", "reach", "A,B", "", cross_send, 200, "", true});

void select_dead(bool fixed) {
  fiber::go({.name = "A"}, [fixed] {
    fiber::Channel<int> one, other(fixed ? 1 : 0);
    fiber::select(fiber::on_receive(one, [](auto) {}), fiber::on_send(other, 1, [] {}));
  });
}
const Registration r3({"select_dead", "communication", "reach", "A", "", select_dead, 200, "", true});

// The sender that A waits for is a message to A.
void own_letter(bool fixed) {
  const fiber::Channel<int> values(1);
  const fiber::Channel<fiber::Sender<int>> post(1);
  fiber::Sender<fiber::Sender<int>>(post).send(values.sender());
  fiber::go({.name = "A"}, [fixed, from = values.receiver(), letters = post.receiver()]() mutable {
    if (fixed) letters.receive()->send(1);
    from.receive();
  });
}
const Registration r4({"own_letter", "communication", "reach", "A", "", own_letter, 200, "", true});

// Nobody has the stopped timer but who waits for it.
void stopped_timer(bool fixed) {
  fiber::go({.name = "A"}, [fixed] {
    fiber::Timer timer(std::chrono::milliseconds(1));
    if (!fixed) timer.stop();
    timer.channel().receive();
  });
}
const Registration r5({"stopped_timer", "communication", "reach", "A", "", stopped_timer, 200, "", true});

// A context below another, neither of which anybody can cancel any more.
void context_chain(bool fixed) {
  struct Sources {
    fiber::CancelSource outer = fiber::with_cancel();
    fiber::CancelSource inner = fiber::with_cancel(outer.context());
  };
  auto sources = std::make_unique<Sources>();
  fiber::go({.name = "A"}, [context = sources->inner.context()] {
    fiber::Channel<int> never;
    const fiber::CancelSource own = fiber::with_cancel(context);
    static_cast<void>(never.receive(own.context()));
  });
  fiber::go({.name = "B"}, [context = sources->inner.context()] { context.wait(); });
  if (!fixed) static_cast<void>(sources.release());
}
const Registration r10({"context_chain", "communication", "reach", "A,B", "", context_chain, 200, "", true});

// Each waits for the other to cancel it.
void cancel_cycle(bool fixed) {
  struct Sources {
    fiber::CancelSource a = fiber::with_cancel(), b = fiber::with_cancel();
  };
  auto sources = std::make_shared<Sources>();
  fiber::go({.name = "A"}, [sources] {
    sources->a.context().wait();
    sources->b.cancel();
  });
  fiber::go({.name = "B"}, [sources, fixed] {
    if (fixed) sources->a.cancel();
    sources->b.context().wait();
    sources->a.cancel();
  });
}
const Registration r6({"cancel_cycle", "communication", "reach", "A,B", "", cancel_cycle, 200, "", true});

// The stages of a pipeline whose source has gone without closing it.
void dry_pipeline(bool fixed) {
  fiber::Channel<int> first;
  fiber::Receiver<int> from = first.receiver();
  for (int i = 0; i < 5; ++i) {
    static constexpr const char* names[] = {"A", "B", "C", "D", "E"};
    const fiber::Channel<int> next;
    fiber::go({.name = names[i]}, [from, to = next.sender()]() mutable {
      while (auto value = from.receive()) to.send(*value);
      to.close();
    });
    from = next.receiver();
  }
  if (fixed) {
    first.close();
    while (from.receive()) continue;
  }
}
const Registration r7({"dry_pipeline", "communication", "reach", "A,B,C,D,E", "", dry_pipeline, 200, "", true});

// A notification comes before anybody waits, and is not remembered.
void early_notification(bool fixed) {
  struct State {
    fiber::Mutex mutex;
    fiber::Condition changed;
    bool ready = false;
    std::atomic<bool> notified{false};
  };
  auto state = std::make_shared<State>();
  fiber::go({.name = "A"}, [state, fixed] {
    until([&] { return state->notified.load(); });
    std::unique_lock guard(state->mutex);
    if (!fixed || !state->ready) state->changed.wait(guard);
  });
  std::lock_guard guard(state->mutex);
  state->ready = true;
  state->changed.notify_all();
  state->notified = true;
}
const Registration r8({"early_notification", "communication", "reach", "A", "", early_notification, 200, "", true});

// A loop of three, closed by a join: A waits for a message of B, B joins C, C waits for A's lock.
void message_join_lock(bool fixed) {
  struct State {
    fiber::Mutex mutex;
    std::atomic<bool> locked{false};
  };
  auto state = std::make_shared<State>();
  const fiber::Channel<int> channel;
  auto last = fiber::spawn({.name = "C"}, [state] {
    while (!state->locked) fiber::yield();
    std::lock_guard guard(state->mutex);
  });
  fiber::go({.name = "B"}, [last = std::move(last), to = channel.sender()]() mutable {
    last.join();
    to.send(1);
  });
  fiber::go({.name = "A"}, [state, fixed, from = channel.receiver()]() mutable {
    std::unique_lock guard(state->mutex);
    state->locked = true;
    if (fixed) guard.unlock();
    from.receive();
  });
}
const Registration r9({"message_join_lock", "mixed", "reach+id", "A,B,C", "", message_join_lock, 200, "", true});

}  // namespace

}  // namespace goker
