// SPDX-License-Identifier: BSD-2-Clause
// One call on a socket: it has its direction of the descriptor to itself, tries the system call, and parks when that
// would block. From its start on it needs the handle only, not the socket object, which may be gone when it wakes.
#pragma once

#include <sys/types.h>
#include <algorithm>
#include <cerrno>
#include <chrono>

#include "net/poller.h"
#include "sched/scheduler.h"

namespace fiber::detail {

// The result of a system call, or -errno. Never inlined: errno is per thread, its address may be cached by the
// compiler, and a fiber may be on another thread after it has parked.
template <class Call>
[[gnu::noinline]] auto checked(Call call) {
  const auto result = call();
  return result < 0 ? static_cast<decltype(result)>(-errno) : result;
}

// How long to wait between attempts that no event ends: `first`, doubling up to `most`.
class BackOff {
 public:
  constexpr BackOff(std::chrono::nanoseconds first, std::chrono::nanoseconds most) : next_(first), most_(most) {}
  Deadline next() {
    const Deadline until = deadline_after(next_);
    next_ = std::min(next_ * 2, most_);
    return until;
  }

 private:
  std::chrono::nanoseconds next_, most_;
};

class Operation {
 public:
  Operation(PollHandle* handle, Direction direction) : handle_(handle), direction_(direction) {
    error_ = handle == nullptr ? -EBADF : poller().begin(handle, direction);
    held_ = error_ == 0;
  }
  ~Operation() {
    if (held_) poller().end(handle_, direction_);
  }
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  static Poller& poller() { return Scheduler::instance().poller(); }
  PollHandle* handle() const { return handle_; }
  int fd() const { return handle_->fd.load(std::memory_order_relaxed); }
  // Why it must not go on; 0: it may.
  int error() const { return error_; }
  // Waits until an attempt may succeed: 0; -ETIMEDOUT; -ECANCELED. In the latter case error() says whether that is for
  // good.
  int wait(Reason reason, const Limit& limit) {
    switch (poller().wait(handle_, direction_, reason, within_own(limit))) {
      case Poller::kReady:
        return 0;
      case kTimedOut:
        return -ETIMEDOUT;
      case Poller::kClosed:
        held_ = false;
        error_ = -ECANCELED;
        [[fallthrough]];
      default:
        return -ECANCELED;
    }
  }
  // The same, but 0 also when it is time for another attempt.
  int wait(Reason reason, const Limit& limit, BackOff& back_off) {
    const Limit whole = within_own(limit);
    const int waited = wait(reason, whole.no_later_than(back_off.next()));
    return waited == -ETIMEDOUT && Clock::now() < whole.deadline() ? 0 : waited;
  }
  // A system call until it does not block: its result.
  template <class Call>
  auto repeat(Reason reason, const Limit& limit, Call call) -> decltype(call(0)) {
    if (error_ != 0) return error_;
    for (;;) {
      const auto result = checked([&] { return call(fd()); });
      if (result == -EINTR) continue;
      if (result != -EAGAIN) return result;
      const int waited = wait(reason, limit);
      if (waited != 0) return waited;
    }
  }

 private:
  Limit within_own(const Limit& limit) const {
    return limit.no_later_than(handle_->deadline[direction_].load(std::memory_order_relaxed));
  }

  PollHandle* handle_;
  Direction direction_;
  int error_;
  bool held_;
};

}  // namespace fiber::detail
