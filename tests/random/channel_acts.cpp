// SPDX-License-Identifier: BSD-2-Clause
#include "actor.h"

namespace random_program {

using fiber::Status;

void Actor::drain(std::uint32_t channel) {
  while (receive(channel)) {
  }
}

Value Actor::next_value(std::uint32_t channel) {
  return std::make_unique<Message>(Message{channel, id_, sequences_[channel]});
}

void Actor::has_sent(const Message& message, Moment start) {
  log_.sent.push_back({message, start, world_.history.now()});
  ++sequences_[message.channel];
}

void Actor::has_received(std::uint32_t channel, Value value, Moment start) {
  const Moment end = world_.history.now();
  if (value == nullptr) {
    expect(false, "received an empty value");
    return;
  }
  expect(value->channel == channel, "received another channel's value");
  log_.received.push_back({*value, start, end});
}

void Actor::saw_closed(std::uint32_t channel) { log_.closed.push_back({channel, world_.history.now()}); }

void Actor::send(std::uint32_t channel, const Chosen& chosen) {
  Value value = next_value(channel);
  const Message message = *value;
  const Moment start = world_.history.now();
  if (chosen.limit.none() && pick(2) == 0) {
    world_.channels[channel].send(std::move(value));
    has_sent(message, start);
    return;
  }
  const Status status = world_.channels[channel].send(value, chosen.limit);
  if (status == Status::done) {
    has_sent(message, start);
  } else {
    check_status(status, chosen);
    expect(status != Status::closed, "a send saw a closed channel");
    expect(value != nullptr, "a send that failed took the value");
  }
}

void Actor::try_send(std::uint32_t channel) {
  Value value = next_value(channel);
  const Message message = *value;
  const Moment start = world_.history.now();
  if (world_.channels[channel].try_send(value)) {
    has_sent(message, start);
  } else {
    expect(value != nullptr, "a try_send that failed took the value");
  }
}

bool Actor::receive(std::uint32_t channel) {
  const Moment start = world_.history.now();
  std::optional<Value> value = world_.channels[channel].receive();
  if (!value.has_value()) {
    saw_closed(channel);
    return false;
  }
  has_received(channel, std::move(*value), start);
  return true;
}

void Actor::receive_somehow() {
  const std::uint32_t channel = any_channel();
  if (may_wait_for(channel) && pick(3) == 0) {
    receive(channel);
    return;
  }
  const Chosen chosen = limit(false);
  const Moment start = world_.history.now();
  auto received = world_.channels[channel].receive(chosen.limit);
  if (received.has_value()) {
    expect(received.status == Status::done, "a value came with a status that says otherwise");
    has_received(channel, std::move(*received), start);
  } else if (received.status == Status::closed) {
    saw_closed(channel);
  } else {
    check_status(received.status, chosen);
  }
}

void Actor::try_receive(std::uint32_t channel) {
  const Moment start = world_.history.now();
  if (auto value = world_.channels[channel].try_receive()) has_received(channel, std::move(*value), start);
}

// Up to two receives, a send, and something that ends it for sure.
void Actor::select() {
  const std::uint32_t from = any_channel(), from_too = any_channel(), to = my_channel();
  Value value = next_value(to);
  const Message message = *value;
  const Chosen chosen = limit(false);
  const Moment start = world_.history.now();
  int ran = 0;
  std::size_t expected = 0;
  const auto received = [&](std::uint32_t channel, std::size_t arm) {
    return [&, channel, arm](std::optional<Value> got) {
      ++ran;
      expected = arm;
      if (got.has_value()) {
        has_received(channel, std::move(*got), start);
      } else {
        saw_closed(channel);
      }
    };
  };
  const auto sent = [&] {
    ++ran;
    expected = 2;
    has_sent(message, start);
  };
  const auto first = fiber::on_receive(world_.channels[from], received(from, 0));
  const auto second = fiber::on_receive(world_.channels[from_too], received(from_too, 1));
  const auto third = [&] { return fiber::on_send(world_.channels[to], std::move(value), sent); };
  std::size_t arm = 0;
  switch (pick(4)) {
    case 0:  // the drainer sees to it that the send goes through
      arm = fiber::select(first, second, third());
      break;
    case 1:
      arm = fiber::select(first, second, third(), fiber::otherwise([&] {
                            ++ran;
                            expected = 3;
                          }));
      break;
    case 2:
      arm = fiber::select(first, second, third(), fiber::until(chosen.deadline, [&] {
                            ++ran;
                            expected = 3;
                            expect(fiber::Clock::now() >= chosen.deadline, "a select timed out early");
                          }));
      break;
    case 3: {
      const fiber::Context context = chosen.context == nullptr ? fiber::Context() : *chosen.context;
      arm = fiber::select(first, second, third(), fiber::on_done(context, [&] {
                            ++ran;
                            expected = 3;
                            expect(context.cancelled(), "a select saw a context cancelled that is not");
                          }));
      break;
    }
  }
  expect(ran == 1, "a select ran not exactly one arm");
  expect(arm == expected, "a select returned another arm than it ran");
}

}  // namespace random_program
