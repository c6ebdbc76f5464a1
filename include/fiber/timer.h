// SPDX-License-Identifier: BSD-2-Clause
// Timers and tickers: a time that arrives on a channel, once or again and again, or starts a fiber.
//
//   fiber::Timer idle(30s);
//   for (bool open = true; open;) {
//     fiber::select(fiber::on_receive(requests, [&](auto request) { idle.reset(30s); ... }),
//                   fiber::on_receive(idle.channel(), [&](auto) { open = false; }));
//   }
//
// To wait no longer than some time, give that as the limit of the wait (fiber/limit.h); that is cheaper.
#pragma once

#include <chrono>
#include <concepts>
#include <functional>
#include <memory>
#include <utility>

#include "fiber/channel.h"
#include "fiber/config.h"
#include "fiber/fiber.h"
#include "fiber/limit.h"

namespace fiber {

namespace detail {
struct Alarm;  // what both are made of
struct AlarmDelete {
  FIBER_API void operator()(Alarm* alarm) const;  // stops it
};
using AlarmPtr = std::unique_ptr<Alarm, AlarmDelete>;
// `spawn` empty: sends on the channel.
FIBER_API AlarmPtr alarm_make(std::function<void()> spawn);
FIBER_API bool alarm_set(Alarm* alarm, Deadline when, std::chrono::nanoseconds period);  // stops it before
FIBER_API bool alarm_stop(Alarm* alarm);
FIBER_API Receiver<Deadline> alarm_channel(const Alarm* alarm);
FIBER_API std::chrono::nanoseconds alarm_period(std::chrono::nanoseconds period);  // checks it
}  // namespace detail

// Goes off once, at a point in time or after a duration, while the runtime runs. Any fiber or thread may use it,
// several at a time. Move-only; its end of life stops it.
//
// stop() and reset() are as in Go since 1.23: once they have returned, no value of before is received any more, so
// there is nothing to drain. Both return whether they came in time: true when it was set and had not gone off, or had,
// but nobody had received the value. Who already waits on the channel keeps waiting.
class Timer {
 public:
  Timer() = default;  // none; its channel is the nil channel
  // Sends the time at which it goes off to channel(). Deadline::max(): not set.
  explicit Timer(Deadline when) : alarm_(detail::alarm_make({})) { reset(when); }
  template <class Rep, class Period>
  explicit Timer(std::chrono::duration<Rep, Period> time) : Timer(detail::deadline_after(time)) {}
  // Runs `function` in a fiber of its own, named "timer". It must be copyable.
  template <std::invocable F>
  Timer(Deadline when, F function)
      : alarm_(detail::alarm_make([function = std::move(function)] { go(SpawnOptions{.name = "timer"}, function); })) {
    reset(when);
  }
  template <class Rep, class Period, std::invocable F>
  Timer(std::chrono::duration<Rep, Period> time, F function)
      : Timer(detail::deadline_after(time), std::move(function)) {}

  // Nil for a timer with a function.
  Receiver<Deadline> channel() const { return detail::alarm_channel(alarm_.get()); }
  bool stop() { return detail::alarm_stop(alarm_.get()); }
  bool reset(Deadline when) { return detail::alarm_set(alarm_.get(), when, {}); }
  template <class Rep, class Period>
  bool reset(std::chrono::duration<Rep, Period> time) {
    return reset(detail::deadline_after(time));
  }

 private:
  detail::AlarmPtr alarm_;
};

// Sends the time to its channel every `period`, the first time after one. The channel holds one tick: those that come
// while it is unread are dropped, and later ones keep to the rhythm. stop() and reset() are as Timer's. A period that
// is not positive ends the process with a message.
class Ticker {
 public:
  Ticker() = default;  // none; its channel is the nil channel
  template <class Rep, class Period>
  explicit Ticker(std::chrono::duration<Rep, Period> period) : alarm_(detail::alarm_make({})) {
    reset(period);
  }

  Receiver<Deadline> channel() const { return detail::alarm_channel(alarm_.get()); }
  bool stop() { return detail::alarm_stop(alarm_.get()); }
  template <class Rep, class Period>
  bool reset(std::chrono::duration<Rep, Period> period) {
    const auto checked = detail::alarm_period(std::chrono::duration_cast<std::chrono::nanoseconds>(period));
    return detail::alarm_set(alarm_.get(), detail::deadline_after(checked), checked);
  }

 private:
  detail::AlarmPtr alarm_;
};

}  // namespace fiber
