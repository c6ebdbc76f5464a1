// SPDX-License-Identifier: BSD-2-Clause
// What the actors of a random program share: the objects they work on, and what is counted beside them to see whether
// each object does what it should.
#pragma once

#include <fiber/all.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <random>
#include <vector>

#include "history.h"

namespace random_program {

// Owns memory, so that a value moved twice or not at all shows.
using Value = std::unique_ptr<Message>;
using Random = std::mt19937_64;

// A mutex, a reader-writer lock or a semaphore: in one order, for whoever holds one may wait for those behind it.
struct Lock {
  enum class Kind { mutex, rwlock, semaphore };
  Lock(Kind its_kind, std::int64_t its_permits) : kind(its_kind), permits(its_permits), semaphore(permits, permits) {}

  const Kind kind;
  const std::int64_t permits;
  fiber::Mutex mutex;
  fiber::RwLock rwlock;
  fiber::Semaphore semaphore;

  // Not atomic on purpose: what mutexes and writers guard, and readers read. `before` is counted on the way in and
  // `after` on the way out.
  int exclusive = 0;
  long before = 0, after = 0;
  std::atomic<int> readers{0};
  std::atomic<std::int64_t> taken{0};  // of the semaphore's permits
  std::atomic<long> expected{0};       // critical sections
};

// Its function throws as often as that, then ends normally.
struct OnlyOnce {
  fiber::Once once;
  int failures = 0;  // left; guarded by the once, like the next
  int inside = 0, completed = 0;
};

struct World {
  World(std::uint64_t its_seed, Random& shape);

  // The canceller cancels all contexts; the feeder makes tokens until `stop`.
  void cancel_all(std::uint64_t order);
  void feed(bool sleeping, const std::atomic<bool>& stop);
  // Once all actors have ended.
  void check();

  const std::uint64_t seed;
  const std::vector<std::size_t> capacities;
  History history;
  std::vector<fiber::Channel<Value>> channels;
  std::vector<std::unique_ptr<fiber::WaitGroup>> senders;  // who may still send on each
  std::vector<std::unique_ptr<Lock>> locks;
  std::vector<std::unique_ptr<OnlyOnce>> onces;
  std::vector<fiber::CancelSource> sources;
  std::vector<fiber::Context> contexts;

  fiber::Mutex token_mutex;
  fiber::Condition token_added;
  long tokens = 0, tokens_made = 0, tokens_taken = 0;
};

}  // namespace random_program
