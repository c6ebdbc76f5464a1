// SPDX-License-Identifier: BSD-2-Clause
// Mutex, condition, wait group. All of them park the fiber, not the thread, and record what tools show: who owns,
// who waits. Objects must outlive their use and cannot be copied or moved.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <mutex>

#include "fiber/config.h"
#include "fiber/limit.h"

namespace fiber {

namespace detail {
struct Waiter;
struct WaitQueue {
  std::atomic<std::uint32_t> lock{0};  // spin lock over the queue
  Waiter* head = nullptr;
  Waiter* tail = nullptr;
};
}  // namespace detail

// Mutual exclusion between fibers, first come first served under contention. Meets TimedLockable, so std::lock_guard
// and std::unique_lock work. Not recursive. Only the owner may unlock: anything else prints which fiber did what and
// aborts. Fibers only.
class FIBER_API Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock();
  // Waits no longer than `limit`: done when it holds the lock.
  [[nodiscard]] Status lock(Limit limit);
  bool try_lock();
  bool try_lock_until(Deadline deadline) { return lock(deadline) == Status::done; }
  template <class Rep, class Period>
  bool try_lock_for(std::chrono::duration<Rep, Period> time) {
    return lock(time) == Status::done;
  }
  void unlock();
  // Id of the fiber that holds it, 0 when free. A hint unless the caller is the owner.
  std::uint64_t owner() const { return owner_.load(std::memory_order_relaxed); }

 private:
  friend class Condition;
  Status lock_slow(const Limit& limit);
  std::atomic<std::uint32_t> state_{0};  // 0 free, 1 held, 2 held and somebody waits
  std::atomic<std::uint64_t> owner_{0};
  detail::WaitQueue waiters_;
};

// Condition variable for use with Mutex. No wake-up is spurious. Fibers wait; any thread may notify. It may be
// destroyed when no call of wait is in progress.
class FIBER_API Condition {
 public:
  Condition() = default;
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;

  // Releases the lock, waits for a notification, locks again.
  void wait(std::unique_lock<Mutex>& lock);
  // The same, but waits for the notification no longer than `limit`: done when notified. Locks again in any case,
  // however long that takes.
  Status wait(std::unique_lock<Mutex>& lock, Limit limit);
  bool wait_until(std::unique_lock<Mutex>& lock, Deadline deadline) { return wait(lock, deadline) == Status::done; }
  template <std::predicate Predicate>
  void wait(std::unique_lock<Mutex>& lock, Predicate satisfied) {
    while (!satisfied()) wait(lock);
  }
  // Done when the predicate holds in the end.
  template <std::predicate Predicate>
  Status wait(std::unique_lock<Mutex>& lock, Limit limit, Predicate satisfied) {
    while (!satisfied()) {
      const Status status = wait(lock, limit);
      if (status != Status::done) return satisfied() ? Status::done : status;
    }
    return Status::done;
  }
  void notify_one();
  void notify_all();

 private:
  detail::WaitQueue waiters_;
};

// Waits for a number of things to be done. add() before the work is handed out, done() by whoever finishes, wait()
// by one or more fibers. A count below zero prints a message and aborts. add and done: any thread.
class FIBER_API WaitGroup {
 public:
  explicit WaitGroup(std::int64_t count = 0) : count_(count) {}
  WaitGroup(const WaitGroup&) = delete;
  WaitGroup& operator=(const WaitGroup&) = delete;

  void add(std::int64_t count = 1);
  void done() { add(-1); }
  void wait() { wait(Limit()); }
  // Done when the count was zero.
  Status wait(Limit limit);

 private:
  std::atomic<std::int64_t> count_;
  detail::WaitQueue waiters_;
};

}  // namespace fiber
