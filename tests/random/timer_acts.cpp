// SPDX-License-Identifier: BSD-2-Clause
#include "actor.h"

namespace random_program {

using fiber::Clock, fiber::Deadline;

void Actor::timers() {
  switch (pick(3)) {
    case 0:
      return timer_with_channel();
    case 1:
      return timer_with_function();
    case 2:
      return ticker();
  }
}

// Nobody else receives from it.
void Actor::timer_with_channel() {
  auto time = short_time();
  Deadline set = Clock::now();
  fiber::Timer timer(time);
  auto channel = timer.channel();
  const std::uint64_t how = pick(4);
  if (how == 0) {
    sleep();
    expect(timer.stop(), "a timer was stopped in time and said it was not");
  }
  if (how == 1) {
    sleep();
    time = short_time();
    set = Clock::now();
    expect(timer.reset(time), "a timer was reset in time and said it was not");
  }
  if (how == 0 || how == 2) {
    // It may come within the limit, unless it was stopped.
    const Chosen chosen = limit(false);
    const auto came = channel.receive(chosen.limit);
    check_status(came.status, chosen);
    if (came.has_value()) {
      expect(how != 0, "a timer that was stopped went off");
      expect(*came >= set + time && *came <= Clock::now(), "a timer went off at the wrong time");
    } else {
      expect(timer.stop() == (how != 0), "a timer did not say whether it was stopped in time");
    }
  } else {
    const auto came = channel.receive();
    expect(came.has_value() && *came >= set + time && *came <= Clock::now(), "a timer went off at the wrong time");
    expect(!timer.stop(), "a timer that had gone off was stopped");
  }
  expect(!channel.try_receive().has_value(), "a timer went off twice");
}

void Actor::timer_with_function() {
  struct State {
    fiber::WaitGroup to_run{1};
    std::atomic<int> ran{0};
    std::atomic<Deadline> at{};
  };
  const auto state = std::make_shared<State>();
  const auto due = Clock::now() + short_time();
  fiber::Timer timer(due, [state] {
    state->at = Clock::now();
    if (state->ran++ == 0) state->to_run.done();
  });
  if (pick(2) == 0) {
    sleep();
    if (timer.stop()) {
      sleep();
      expect(state->ran == 0, "a timer that was stopped ran its function");
      return;
    }
  }
  state->to_run.wait();
  expect(state->at.load() >= due, "a timer ran its function early");
  expect(!timer.stop(), "a timer whose function has run was stopped");
  expect(state->ran == 1, "a timer ran its function twice");
}

void Actor::ticker() {
  const std::chrono::microseconds period(20 + pick(80));
  Deadline start = Clock::now();
  fiber::Ticker ticker(period);
  auto channel = ticker.channel();
  for (std::uint64_t phase = 1 + pick(2); phase > 0; --phase) {
    const int ticks = static_cast<int>(pick(4));
    for (int i = 1; i <= ticks; ++i) {
      const auto tick = channel.receive();
      expect(tick.has_value() && *tick >= start + i * period && *tick <= Clock::now(), "a tick came at the wrong time");
      if (pick(4) == 0) sleep();
    }
    if (phase == 2) {
      start = Clock::now();
      expect(ticker.reset(period), "a ticker that ticked was reset and said it was stopped before");
    }
  }
  expect(ticker.stop(), "a ticker that ticked was stopped and said it was stopped before");
  sleep();
  expect(!channel.try_receive().has_value(), "a ticker that was stopped ticked");
}

}  // namespace random_program
