// SPDX-License-Identifier: BSD-2-Clause
// Those who wait for a synchronisation object, as models of locks see them: their queue (runtime/sync/wait_queue.h) and
// how a wait with a limit ends (runtime/sched/claim.h) are the code itself; the rest is as wait_in and wait_in_claimed.
#pragma once

#include <cstdint>

#include "explorer.h"
#include "sched/claim.h"
#include "sync/wait_queue.h"

namespace model {

using Claim = fiber::detail::BasicClaim<Atomics>;
using fiber::detail::Place;

// A fiber or thread as far as it waits.
struct Sleeper {
  Atomic<int> awake{0};
  void park() { awake.await(1, "to be made runnable", 0); }
  void ready() { check(awake.exchange(1, std::memory_order_acq_rel) == 0, "somebody was readied twice"); }
};

// `Flag`: of `success`.
template <class Flag = Plain<bool>>
struct ModelWaiter {
  ModelWaiter(std::uint64_t whose, Sleeper& its_sleeper) : self(whose), sleeper(its_sleeper) {}
  // These do not change while others can see the waiter.
  const std::uint64_t self;
  Sleeper& sleeper;
  int since = 0;
  bool writing = false;
  Claim* wait = nullptr;

  Plain<ModelWaiter*> next{nullptr}, previous{nullptr};
  Plain<bool> queued{false};
  Flag success{false};
  std::uint64_t id() const { return self; }
};

template <class Waiter>
struct ModelQueue {
  Plain<Waiter*> head{nullptr}, tail{nullptr};
};

// As claim() and win_waiter().
inline bool end_wait(Claim& claim, Sleeper& sleeper, std::uint32_t outcome) {
  const Claim::Attempt attempt = claim.attempt(outcome);
  if (attempt == Claim::Attempt::won_parked) sleeper.ready();
  return attempt != Claim::Attempt::lost;
}
template <class Flag>
bool win_waiter(ModelWaiter<Flag>& waiter) {
  return waiter.wait == nullptr || end_wait(*waiter.wait, waiter.sleeper, 0);
}

// Ends the wait of whoever is armed, once.
struct ModelTimer {
  Lock lock;
  Plain<Claim*> armed{nullptr};
  Plain<Sleeper*> sleeper{nullptr};
  bool announced = false;  // whether `due` is set by whoever is armed
  Atomic<int> due{0};

  void arm(Claim* claim, Sleeper* whose) {
    lock.lock();
    armed.set(claim);
    sleeper.set(whose);
    lock.unlock();
    if (announced && claim != nullptr) due.store(1);
  }
  void expire() {
    lock.lock();
    if (Claim* claim = armed.get()) end_wait(*claim, *sleeper.get(), 1);
    lock.unlock();
  }
};

// As wait_in, with the object's lock held, which this gives up. A null timer: no limit. False: the limit came first.
// `removed`: whether it leaves the queue as it should.
template <class Object, class Waiter>
bool wait_in(Object& object, Waiter& waiter, Place place, ModelTimer* timer, bool removed = true) {
  if (timer == nullptr) {
    fiber::detail::enqueue_waiter(object.waiters, waiter, place);
    object.lock.unlock();
    waiter.sleeper.park();
    return true;
  }
  Claim claim;
  waiter.wait = &claim;
  fiber::detail::enqueue_waiter(object.waiters, waiter, place);
  object.lock.unlock();
  timer->arm(&claim, &waiter.sleeper);
  if (!claim.claimed() && claim.commit()) waiter.sleeper.park();
  timer->arm(nullptr, nullptr);
  object.lock.lock();
  if (removed) fiber::detail::remove_waiter(object.waiters, waiter);
  object.lock.unlock();
  return claim.outcome() == 0;
}

}  // namespace model
