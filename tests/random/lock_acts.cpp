// SPDX-License-Identifier: BSD-2-Clause
#include <mutex>
#include <shared_mutex>
#include <stdexcept>

#include "actor.h"

namespace random_program {

using fiber::Status;

template <class Try, class Limited, class Plain>
bool Actor::acquire_somehow(Try attempt, Limited limited, Plain plain) {
  switch (pick(3)) {
    case 0:
      plain();
      return true;
    case 1:
      return attempt();
    default: {
      const Chosen chosen = limit(true);
      const Status status = limited(chosen.limit);
      check_status(status, chosen);
      return status == Status::done;
    }
  }
}

void Actor::lock_something(std::size_t from) {
  if (from >= world_.locks.size()) return;
  const std::size_t which = from + pick(world_.locks.size() - from);
  switch (world_.locks[which]->kind) {
    case Lock::Kind::mutex:
      return lock_mutex(which);
    case Lock::Kind::rwlock:
      return pick(3) == 0 ? lock_for_writing(which) : lock_for_reading(which);
    case Lock::Kind::semaphore:
      return take_permits(which);
  }
}

void Actor::write_guarded(std::size_t which) {
  Lock& lock = *world_.locks[which];
  expect(lock.exclusive++ == 0, "two in one critical section");
  expect(lock.readers == 0, "a writer among readers");
  ++lock.before;
  lock.expected.fetch_add(1, std::memory_order_relaxed);
  act_holding(which);
  ++lock.after;
  expect(lock.before == lock.after, "two in one critical section");
  expect(lock.readers == 0, "a reader came to a writer");
  expect(--lock.exclusive == 0, "two in one critical section");
}

void Actor::lock_mutex(std::size_t which) {
  fiber::Mutex& mutex = world_.locks[which]->mutex;
  if (!acquire_somehow([&] { return mutex.try_lock(); }, [&](auto most) { return mutex.lock(most); },
                       [&] { mutex.lock(); })) {
    return;
  }
  write_guarded(which);
  mutex.unlock();
}

void Actor::lock_for_writing(std::size_t which) {
  fiber::RwLock& lock = world_.locks[which]->rwlock;
  if (!acquire_somehow([&] { return lock.try_lock(); }, [&](auto most) { return lock.lock(most); },
                       [&] { lock.lock(); })) {
    return;
  }
  write_guarded(which);
  lock.unlock();
}

void Actor::lock_for_reading(std::size_t which) {
  Lock& lock = *world_.locks[which];
  if (!acquire_somehow([&] { return lock.rwlock.try_lock_shared(); },
                       [&](auto most) { return lock.rwlock.lock_shared(most); }, [&] { lock.rwlock.lock_shared(); })) {
    return;
  }
  ++lock.readers;
  const long seen = lock.after;
  expect(lock.exclusive == 0 && lock.before == seen, "a reader saw a writer at work");
  act_holding(which);
  expect(lock.before == seen && lock.after == seen, "what a reader looked at changed");
  --lock.readers;
  lock.rwlock.unlock_shared();
}

void Actor::take_permits(std::size_t which) {
  Lock& lock = *world_.locks[which];
  const auto count = static_cast<std::int64_t>(1 + pick(static_cast<std::uint64_t>(lock.permits)));
  if (!acquire_somehow([&] { return lock.semaphore.try_acquire(count); },
                       [&](auto most) { return lock.semaphore.acquire(count, most); },
                       [&] { lock.semaphore.acquire(count); })) {
    return;
  }
  expect(lock.taken.fetch_add(count) + count <= lock.permits, "more permits were taken than there are");
  act_holding(which);
  lock.taken -= count;
  lock.semaphore.release(count);
}

// The feeder makes tokens until everybody has ended; each is taken once.
void Actor::wait_for_token() {
  std::unique_lock lock(world_.token_mutex);
  const auto there = [&] { return world_.tokens > 0; };
  if (pick(2) == 0) {
    world_.token_added.wait(lock, there);
  } else {
    const Chosen chosen = limit(true);
    const Status status = world_.token_added.wait(lock, chosen.limit, there);
    if (status != Status::done) {
      check_status(status, chosen);
      return;
    }
  }
  expect(world_.tokens > 0, "a predicate did not hold after its wait");
  --world_.tokens;
  ++world_.tokens_taken;
}

void Actor::call_once() {
  OnlyOnce& only = *world_.onces[pick(world_.onces.size())];
  int ran = 0;
  const auto function = [&] {
    ++ran;
    expect(only.completed == 0, "a once ran after it was done");
    expect(only.inside++ == 0, "a once ran twice at a time");
    sleep();
    expect(--only.inside == 0, "a once ran twice at a time");
    if (only.failures-- > 0) throw std::runtime_error(std::to_string(id_));
    ++only.completed;
  };
  try {
    Status status = Status::done;
    if (pick(2) == 0) {
      only.once.call(function);
    } else {
      const Chosen chosen = limit(true);
      status = only.once.call(function, chosen.limit);
      check_status(status, chosen);
    }
    if (status == Status::done) expect(only.completed == 1 && only.inside == 0, "a once was not done after its call");
    expect(ran <= (status == Status::done), "a call of a once ran its function and did not say so");
  } catch (const std::runtime_error& error) {
    expect(ran == 1 && error.what() == std::to_string(id_), "a once threw another call's exception");
  }
}

}  // namespace random_program
