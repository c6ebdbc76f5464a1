// SPDX-License-Identifier: BSD-2-Clause
// How long a wait may last (Limit), and how an operation that may wait has ended (Status): one type for each.
#pragma once

#include <chrono>
#include <cstdint>
#include <type_traits>

#include "fiber/config.h"

namespace fiber {

// The runtime's clock. It is std::chrono::steady_clock, and its points in time are of the same type, except in a run
// that a seed determines (Options::seed): there the time is simulated. Any thread.
struct FIBER_API Clock {
  using duration = std::chrono::steady_clock::duration;
  using rep = duration::rep;
  using period = duration::period;
  using time_point = std::chrono::steady_clock::time_point;
  static constexpr bool is_steady = true;
  static time_point now() noexcept;
};
using Deadline = Clock::time_point;  // Deadline::max(): never

class Context;

namespace detail {
struct ContextCore;

// Now plus `time`, or never when that is beyond what the clock can say; now, when `time` is negative or not a number.
template <class Rep, class Period>
Deadline deadline_after(std::chrono::duration<Rep, Period> time) {
  const Deadline now = Clock::now();
  if (!(time > time.zero())) return now;
  using Seconds = std::chrono::duration<double>;
  if (Seconds(time) >= Seconds(Deadline::max() - now - std::chrono::seconds(1))) return Deadline::max();
  return now + std::chrono::duration_cast<Clock::duration>(time);
}
}  // namespace detail

enum class Status : std::uint8_t {
  done,
  closed,     // receive: the channel is closed and drained
  timed_out,  // the deadline or the duration given as the limit has passed (a try_ function: it would have to wait)
  cancelled,  // the context given as the limit is cancelled, or its own deadline has passed
};

inline const char* to_string(Status status) {
  constexpr const char* texts[] = {"done", "closed", "timed out", "cancelled"};
  return texts[static_cast<std::size_t>(status)];
}

// "Wait no longer than this": an optional last argument of everything that waits. Converts from a point in time, a
// duration from now, a context, or a context with either. An operation that need not wait succeeds whatever its limit
// says; one that must does not park when the limit has been reached already.
//
// It borrows the context, which must outlive the call it is an argument of: do not keep a Limit.
class Limit {
 public:
  constexpr Limit() = default;  // wait as long as it takes
  template <class Duration>
  // NOLINTNEXTLINE(google-explicit-constructor)
  constexpr Limit(std::chrono::time_point<std::chrono::steady_clock, Duration> deadline)
      : deadline_(std::chrono::time_point_cast<Clock::duration>(deadline)) {}
  template <class Rep, class Period>
  Limit(std::chrono::duration<Rep, Period> time)  // NOLINT(google-explicit-constructor)
      : deadline_(detail::deadline_after(time)) {}
  Limit(const Context& context);  // NOLINT(google-explicit-constructor): defined in fiber/context.h
  Limit(const Context& context, Deadline deadline);
  template <class Rep, class Period>
  Limit(const Context& context, std::chrono::duration<Rep, Period> time)
      : Limit(context, detail::deadline_after(time)) {}

  constexpr bool none() const { return deadline_ == Deadline::max() && context_ == nullptr; }
  constexpr Deadline deadline() const { return deadline_; }  // its own; the context may have an earlier one
  constexpr detail::ContextCore* context() const { return context_; }
  // The same with a deadline that is no later than `deadline`.
  constexpr Limit no_later_than(Deadline deadline) const {
    Limit both = *this;
    if (deadline < both.deadline_) both.deadline_ = deadline;
    return both;
  }

 private:
  Deadline deadline_ = Deadline::max();
  detail::ContextCore* context_ = nullptr;
};

}  // namespace fiber
