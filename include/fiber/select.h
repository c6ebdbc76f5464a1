// SPDX-License-Identifier: BSD-2-Clause
// select: waits for the first of several channel operations, a deadline, a context's end, or nothing at all.
//
//   fiber::select(
//       fiber::on_receive(jobs, [&](std::optional<Job> job) { ... }),   // empty: closed and drained
//       fiber::on_send(results, value, [&] { ... }),
//       fiber::on_done(context, [&] { ... }),
//       fiber::after(10ms, [&] { ... }));                               // or fiber::otherwise([] { ... })
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <tuple>
#include <utility>

#include "fiber/channel.h"
#include "fiber/context.h"
#include "fiber/limit.h"

namespace fiber {

namespace detail {

// One channel operation offered to select.
struct SelectArm {
  ChannelCore* core;
  void* element;
  bool is_send;
};
inline constexpr int kSelectNone = -1;       // poll found nothing, or the deadline passed
inline constexpr int kSelectCancelled = -2;  // by the limit's context

struct SelectOutcome {
  int chosen;   // index into the arms, or kSelectNone or kSelectCancelled
  bool closed;  // receive arm: the channel is closed and drained
};
// Among several arms that are ready the choice is random and fair.
FIBER_API SelectOutcome select_arms(const SelectArm* arms, std::size_t count, const Limit& limit);
// The same without waiting; of the limit only the context counts.
FIBER_API SelectOutcome poll_arms(const SelectArm* arms, std::size_t count, const Limit& limit);

template <class T, class F>
struct ReceiveArm {
  ChannelWord<ChannelRight::receive> from;
  F then;
  Slot<T> slot;
  static constexpr bool is_channel = true;
  SelectArm arm() { return {from.get(), slot.bytes, false}; }
  void run(bool closed) {
    if (closed) {
      then(std::optional<T>{});
    } else {
      then(slot.take());
    }
  }
};
template <class T, class F>
struct SendArm {
  ChannelWord<ChannelRight::send> to;
  T value;
  F then;
  static constexpr bool is_channel = true;
  SelectArm arm() { return {to.get(), &value, true}; }
  void run(bool) { then(); }
};
template <class F>
struct AfterArm {
  Deadline deadline;
  F then;
  static constexpr bool is_channel = false;
};
template <class F>
struct DoneArm {
  const Context& context;
  F then;
  static constexpr bool is_channel = false;
};
template <class F>
struct OtherwiseArm {
  F then;
  static constexpr bool is_channel = false;
};

template <class Arm>
inline constexpr bool is_after = false;
template <class F>
inline constexpr bool is_after<AfterArm<F>> = true;
template <class Arm>
inline constexpr bool is_done = false;
template <class F>
inline constexpr bool is_done<DoneArm<F>> = true;
template <class Arm>
inline constexpr bool is_otherwise = false;
template <class F>
inline constexpr bool is_otherwise<OtherwiseArm<F>> = true;

}  // namespace detail

template <class T, class F>
auto on_receive(const Receiver<T>& from, F then) {
  return detail::ReceiveArm<T, F>{detail::ChannelWord<detail::ChannelRight::receive>(from.core()), std::move(then), {}};
}
template <class T, class F>
auto on_receive(const Channel<T>& from, F then) {
  return detail::ReceiveArm<T, F>{detail::ChannelWord<detail::ChannelRight::receive>(from.core()), std::move(then), {}};
}
template <class T, class U, class F>
auto on_send(const Sender<T>& to, U&& value, F then) {
  return detail::SendArm<T, F>{detail::ChannelWord<detail::ChannelRight::send>(to.core()), T(std::forward<U>(value)),
                               std::move(then)};
}
template <class T, class U, class F>
auto on_send(const Channel<T>& to, U&& value, F then) {
  return detail::SendArm<T, F>{detail::ChannelWord<detail::ChannelRight::send>(to.core()), T(std::forward<U>(value)),
                               std::move(then)};
}
// Taken when nothing else was ready by then.
template <class F>
auto until(Deadline deadline, F then) {
  return detail::AfterArm<F>{deadline, std::move(then)};
}
template <class Rep, class Period, class F>
auto after(std::chrono::duration<Rep, Period> time, F then) {
  return until(detail::deadline_after(time), std::move(then));
}
// Taken when the context is cancelled, its deadline included; before everything else when it is so at the start, so
// that a loop over busy channels ends. The context must outlive the select.
template <class F>
auto on_done(const Context& context, F then) {
  return detail::DoneArm<F>{context, std::move(then)};
}
// Taken when nothing else is ready now.
template <class F>
auto otherwise(F then) {
  return detail::OtherwiseArm<F>{std::move(then)};
}

// Performs exactly one arm and runs its function, on the calling fiber. Returns the arm's index. Arms on nil channels
// are never ready. Fibers only. A send arm whose channel is closed aborts with a message, as send does.
template <class... Arms>
std::size_t select(Arms... arms) {
  using namespace detail;
  constexpr std::size_t channels = (std::size_t{Arms::is_channel} + ... + 0);
  static_assert((int{is_otherwise<Arms>} + ... + 0) <= 1, "one otherwise arm at most");
  static_assert((int{is_after<Arms>} + ... + 0) <= 1, "one deadline arm at most");
  static_assert((int{is_done<Arms>} + ... + 0) <= 1, "one on_done arm at most: derive one context from the other");

  std::array<SelectArm, channels == 0 ? 1 : channels> table;
  std::size_t filled = 0;
  constexpr bool poll = (is_otherwise<Arms> || ... || false);
  Limit limit;
  [[maybe_unused]] auto collect = [&]<class Arm>(Arm& arm) {
    if constexpr (Arm::is_channel) {
      table[filled++] = arm.arm();
    } else if constexpr (is_after<Arm>) {
      limit = limit.no_later_than(arm.deadline);
    } else if constexpr (is_done<Arm>) {
      limit = Limit(arm.context, limit.deadline());
    }
  };
  (collect(arms), ...);

  const SelectOutcome outcome =
      (poll ? poll_arms : select_arms)(channels == 0 ? nullptr : table.data(), channels, limit);

  std::size_t position = 0, chosen = 0;
  int channel = 0;
  [[maybe_unused]] auto dispatch = [&]<class Arm>(Arm& arm) {
    if constexpr (Arm::is_channel) {
      if (channel++ == outcome.chosen) {
        chosen = position;
        arm.run(outcome.closed);
      }
    } else if (is_done<Arm> ? outcome.chosen == kSelectCancelled
                            : outcome.chosen == kSelectNone && is_otherwise<Arm> == poll) {
      chosen = position;
      arm.then();
    }
    ++position;
  };
  (dispatch(arms), ...);
  return chosen;
}

}  // namespace fiber
