// SPDX-License-Identifier: BSD-2-Clause
// Mutex, condition, wait group. All of them park the fiber, not the thread, and record what tools show: who owns,
// who waits. Objects must outlive their use and cannot be copied or moved.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>

#include "fiber/config.h"
#include "fiber/time.h"

namespace fiber {

namespace detail {
struct Waiter;
struct WaitQueue {
  std::atomic<std::uint32_t> lock{0};  // spin lock over the queue
  Waiter* head = nullptr;
  Waiter* tail = nullptr;
};
}  // namespace detail

// Mutual exclusion between fibers, first come first served under contention. Meets Lockable, so std::lock_guard and
// std::unique_lock work. Not recursive. Only the owner may unlock: anything else prints which fiber did what and
// aborts. Fibers only.
class FIBER_API Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock();
  bool try_lock();
  // Waits at most until `deadline`; false when that passed first.
  bool try_lock_until(Deadline deadline);
  void unlock();
  // Id of the fiber that holds it, 0 when free. A hint unless the caller is the owner.
  std::uint64_t owner() const { return owner_.load(std::memory_order_relaxed); }

 private:
  friend class Condition;
  bool lock_slow(Deadline deadline);
  std::atomic<std::uint32_t> state_{0};  // 0 free, 1 held, 2 held and somebody waits
  std::atomic<std::uint64_t> owner_{0};
  detail::WaitQueue waiters_;
};

// Condition variable for use with Mutex. Wakes may be spurious only after a timed wait. Fibers wait; any thread may
// notify.
class FIBER_API Condition {
 public:
  Condition() = default;
  Condition(const Condition&) = delete;
  Condition& operator=(const Condition&) = delete;

  // Releases the lock, waits for a notification, locks again.
  void wait(std::unique_lock<Mutex>& lock);
  // The same with a deadline; false when it passed first.
  bool wait_until(std::unique_lock<Mutex>& lock, Deadline deadline);
  template <class Predicate>
  void wait(std::unique_lock<Mutex>& lock, Predicate done) {
    while (!done()) wait(lock);
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
  void wait();

 private:
  std::atomic<std::int64_t> count_;
  detail::WaitQueue waiters_;
};

}  // namespace fiber
