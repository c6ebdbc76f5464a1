// SPDX-License-Identifier: BSD-2-Clause
// Mutex, condition, wait group. All of them park the fiber, not the thread, and record what tools show: who owns,
// who waits. Objects must outlive their use and cannot be copied or moved.
#pragma once

#include <atomic>
#include <concepts>
#include <cstdint>
#include <mutex>
#include <utility>

#include "fiber/config.h"
#include "fiber/limit.h"
#include "fiber/object.h"
#include "fiber/timed_lockable.h"

namespace fiber {

namespace detail {
struct MutexFlags {
  bool waking = false;    // a waiter was woken and has not tried yet
  bool starving = false;  // unlock hands over
};
}  // namespace detail

// Mutual exclusion. Whoever asks while it is free gets it, even if others wait; whoever has waited for a millisecond
// gets it next, in the order of arrival. Meets TimedLockable, so std::lock_guard and std::unique_lock work. Not
// recursive (Options::self_lock_check). Only the owner may unlock: anything else prints which fiber did what and
// aborts. A thread that is no fiber may use it too, and then blocks as a thread.
class FIBER_API Mutex : public detail::TimedLockable<Mutex> {
 public:
  constexpr Mutex() = default;
  // With a name, for tools and messages; static lifetime.
  constexpr explicit Mutex(const char* name) : object_(detail::ObjectKind::mutex, name) {}
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock();
  // Waits no longer than `limit`: done when it holds the lock. Also as try_lock_until(deadline), try_lock_for(time).
  [[nodiscard]] Status lock(Limit limit);
  bool try_lock();
  void unlock();
  // Id of the fiber that holds it, 0 when free; a thread that is no fiber counts as 2^63 plus its tid. A hint unless
  // the caller is the owner.
  std::uint64_t owner() const { return object_.owner.load(std::memory_order_relaxed); }

 private:
  bool lock_free(std::uint64_t self);
  Status lock_slow(std::uint64_t self, const Limit& limit);
  void unlock_contended(std::atomic<std::uint8_t>& held);
  detail::Object object_{detail::ObjectKind::mutex};
  detail::MutexFlags flags_;
};

// Condition variable for use with Mutex. No wake-up is spurious. Any fiber or thread may wait and notify. It may be
// destroyed when no call of wait is in progress.
class FIBER_API Condition {
 public:
  constexpr Condition() = default;
  constexpr explicit Condition(const char* name) : object_(detail::ObjectKind::condition, name) {}
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
  detail::Object object_{detail::ObjectKind::condition};
};

// Waits for a number of things to be done. add() before the work is handed out, done() by whoever finishes, wait() by
// any number of fibers or threads, the last of which may destroy it. A count below zero prints a message and aborts.
class FIBER_API WaitGroup {
 public:
  constexpr explicit WaitGroup(std::int64_t count = 0, const char* name = nullptr)
      : object_(detail::ObjectKind::wait_group, name, count) {
    if (count < 0) detail::bad_count(object_, "made with a count of", count);
  }
  WaitGroup(const WaitGroup&) = delete;
  WaitGroup& operator=(const WaitGroup&) = delete;

  void add(std::int64_t count = 1);
  void done() { add(-1); }

  // One thing to be done, as a handle whose end of life is exactly one done(). Move-only. Any thread.
  //
  // Prefer it to add() and done(), for it tells tools who the waiters wait for: they know how many are alive, and can
  // find them, for a living token is one word, the address of its group, wherever it was moved to, and one that was
  // moved from or done() is zero. There is no record of who holds one, since a token in one fiber's frame may be used
  // by another; what tells is from where it can be reached (fiberprof_wait_group in fiberprof/registry.h).
  class [[nodiscard]] Token {
   public:
    Token() = default;
    Token(Token&& other) noexcept : group_(std::exchange(other.group_, nullptr)) {}
    Token& operator=(Token&& other) noexcept {
      if (this != &other) {
        done();
        group_ = std::exchange(other.group_, nullptr);
      }
      return *this;
    }
    ~Token() { done(); }
    // Before the end of life; then that does nothing.
    void done() {
      if (group_ != nullptr) std::exchange(group_, nullptr)->token_done();
    }
    explicit operator bool() const { return group_ != nullptr; }

   private:
    friend class WaitGroup;
    explicit Token(WaitGroup* group) : group_(group) {}
    WaitGroup* group_ = nullptr;
  };
  Token token();

  void wait() { wait(Limit()); }
  // Done when the count was zero.
  Status wait(Limit limit);

 private:
  friend struct detail::Layout;
  void add_locked(std::int64_t count);
  void token_done();
  detail::Object object_;
  std::atomic<std::int64_t> tokens_{0};
};

}  // namespace fiber
