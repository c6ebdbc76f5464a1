// SPDX-License-Identifier: BSD-2-Clause
#include "actor.h"

#include <unistd.h>

namespace random_program {

using fiber::Status;

Actor::Actor(World& world, std::uint64_t seed, unsigned level, int depth, bool is_fiber)
    : world_(world),
      random_(seed),
      level_(level),
      depth_(depth),
      is_fiber_(is_fiber),
      log_(world.history.new_log(id_)),
      sequences_(world.channels.size()) {}

void Actor::act(unsigned operations) {
  for (unsigned i = 0; i < operations; ++i) {
    ++log_.operations;
    act_once();
  }
}

void Actor::expect(bool holds, const char* what) {
  if (!holds) world_.history.wrong("actor " + std::to_string(id_) + ": " + what);
}

void Actor::act_once() {
  switch (pick(is_fiber_ ? 19 : 12)) {
    case 0:
    case 1:
      return send(my_channel(), limit(true));
    case 2:
      return receive_somehow();
    case 3:
      return try_send(my_channel());
    case 4:
      return try_receive(any_channel());
    case 5:
    case 6:
    case 7:
      return lock_something(0);
    case 8:
      return wait_for_token();
    case 9:
      return sleep();
    case 10:
      return call_once();
    case 11:
      return timers();
    case 12:
      return fiber::yield();
    case 13:
    case 14:
    case 15:
      return select();
    case 16:
    case 17:
      return children();
    case 18:
      return fiber::blocking([&] { usleep(static_cast<useconds_t>(pick(80))); });
  }
}

void Actor::sleep() {
  const auto until = fiber::Clock::now() + short_time();
  fiber::sleep_until(until);
  expect(fiber::Clock::now() >= until, "slept too short");
}

void Actor::act_holding(std::size_t lock) {
  ++held_;
  switch (pick(6)) {
    case 0:
      send(my_channel(), limit(true));
      break;
    case 1:
      lock_something(lock + 1);
      break;
    case 2:
      sleep();
      break;
    case 3:
      if (is_fiber_) fiber::yield();
      break;
  }
  --held_;
}

Actor::Chosen Actor::limit(bool may_be_none) {
  Chosen chosen;
  const std::uint64_t kind = pick(may_be_none ? 5 : 3);
  if (kind == 0 || kind == 2) chosen.deadline = fiber::Clock::now() + short_time();
  if (kind == 1 || kind == 2) chosen.context = &world_.contexts[pick(world_.contexts.size())];
  chosen.limit =
      chosen.context == nullptr ? fiber::Limit(chosen.deadline) : fiber::Limit(*chosen.context, chosen.deadline);
  return chosen;
}

void Actor::check_status(Status status, const Chosen& chosen) {
  if (status == Status::timed_out) expect(fiber::Clock::now() >= chosen.deadline, "timed out early");
  if (status == Status::cancelled) {
    expect(chosen.context != nullptr && chosen.context->cancelled(), "cancelled by a context that is not cancelled");
  }
}

}  // namespace random_program
