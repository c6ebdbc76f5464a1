// SPDX-License-Identifier: BSD-2-Clause
#include "sched/object_lock.h"

namespace fiber::detail {

namespace {

constexpr unsigned kStreak = 256;  // lockings in a row by one processor: at 5 ns each they are worth a revocation

}  // namespace

LockByte& lock_object_unbiased(ObjectLock& lock, const Worker* worker) {
  lock_word<AsymmetricAtomics>(lock, worker == nullptr ? kNoBias : worker->bias, kStreak);
  return lock.word;
}

LockByte& lock_object_yielding(ObjectLock& lock, const Worker* worker) {
  if (seeded::on()) [[unlikely]] {
    seeded::maybe_yield();
    worker = this_worker();
  }
  return lock_object_unbiased(lock, worker);
}

}  // namespace fiber::detail
