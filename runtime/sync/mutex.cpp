// SPDX-License-Identifier: BSD-2-Clause
// Mutex: its state lies under its object's lock, which costs two stores while one processor uses it.
//
// Unlock frees the mutex and wakes the first waiter, who tries again; whoever comes first gets it (barging, as in Go's
// sync.Mutex): handing it over would make everybody wait until the one chosen has got a processor, 70 ns a lock instead
// of 15 with two workers. Only one waiter at a time is on its way. One that has waited for kPatience and finds the
// mutex taken again makes it starving: then unlock hands it over, in the order of arrival, until nobody is so old.
#include "fiber/sync.h"
#include "probe/emit.h"
#include "sched/clock.h"
#include "sched/scheduler.h"
#include "sync/mutex_state.h"
#include "sync/waiter.h"

namespace fiber {

using namespace detail;

namespace {

constexpr std::uint64_t kPatience = 1'000'000;  // ns; Go's is the same
constexpr int kSpins = 4, kPausesPerSpin = 30;

bool waited_too_long(std::uint64_t since) { return timer_now() - since >= kPatience; }

// Whether it may be free in a moment: its owner runs on another processor, and this one has nothing else to do.
bool spin(const Object& object) {
  const Worker* worker = this_worker();
  if (worker == nullptr || worker->local == nullptr) return false;
  const LocalQueue& queue = worker->local->queue;
  if (!queue.has_thieves() || queue.size() != 0) return false;
  for (int i = 0; i < kPausesPerSpin && object.count.load(std::memory_order_relaxed) != mutex::kFree; ++i) cpu_pause();
  return true;
}

}  // namespace

[[gnu::always_inline]] inline bool Mutex::lock_free(std::uint64_t self) {
  return with_lock_at_entry(
      object_.lock, [&](LockByte & held, auto heard) __attribute__((always_inline)) {
        const bool taken = mutex::take(object_, self);
        unlock_object(held);
        if (heard && taken) FIBER_EMIT(lock, self, address_of(this), 0);
        return taken;
      });
}

bool Mutex::try_lock() { return lock_free(this_actor_id()); }

void Mutex::lock() {
  const std::uint64_t self = this_actor_id();
  if (lock_free(self)) [[likely]]
    return;
  lock_slow(self, {});
  asm volatile("");  // no tail call: the name people look for in a stack is this one
}

Status Mutex::lock(Limit limit) {
  const std::uint64_t self = this_actor_id();
  if (lock_free(self)) return Status::done;
  const Status status = lock_slow(self, limit);
  asm volatile("");
  return status;
}

[[gnu::noinline]] Status Mutex::lock_slow(std::uint64_t self, const Limit& limit) {
  if (object_.owner.load(std::memory_order_relaxed) == self) {
    waits_for_itself(object_, "locked again by its owner");
  }
  for (int i = 0; i < kSpins && spin(object_); ++i) {
    if (lock_free(self)) return Status::done;
  }
  const std::uint64_t since = timer_now();
  bool woken = false;
  for (;;) {
    Waiter waiter(this_fiber());
    waiter.since = since;
    ObjectGuard guard(object_.lock);
    if (mutex::come(object_, flags_, self, woken, [&] { return waited_too_long(since); })) break;
    const Status status = wait_in(object_, waiter, Reason::MUTEX, guard, limit, woken ? Place::first : Place::last);
    if (status != Status::done) return status;
    if (waiter.success) break;  // handed over
    woken = true;
  }
  FIBER_EMIT(lock, self, address_of(this), 1);
  return Status::done;
}

void Mutex::unlock() {
  const std::uint64_t self = this_actor_id();
  const std::uint64_t owner = object_.owner.load(std::memory_order_relaxed);
  if (owner != self) [[unlikely]] {
    fatal("%s unlocked by somebody who does not hold it; its owner is %s", describe(object_).c_str(),
          describe_actor(owner).c_str());
  }
  with_lock_at_entry(
      object_.lock, [&](LockByte & held, auto heard) __attribute__((always_inline)) {
        object_.owner.store(0, std::memory_order_relaxed);
        const bool contended = object_.waiters.head != nullptr;
        if (contended) [[unlikely]] {
          unlock_contended(held);
        } else {
          object_.count.store(mutex::kFree, std::memory_order_relaxed);
          unlock_object(held);
        }
        if (heard) FIBER_EMIT(unlock, self, address_of(this), contended);
      });
}

// `held`: of the object's lock, which this gives up.
[[gnu::noinline]] void Mutex::unlock_contended(std::atomic<std::uint8_t>& held) {
  const auto is_old = [](const Waiter& waiter) { return waited_too_long(waiter.since); };
  const Waiter* next = mutex::let_go<Waiter>(object_, flags_, is_old);
  Fiber* wake = next != nullptr && next->wait == nullptr ? next->fiber : nullptr;
  unlock_object(held);
  if (wake != nullptr) ready(wake);
}

}  // namespace fiber
