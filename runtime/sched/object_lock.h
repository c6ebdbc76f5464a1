// SPDX-License-Identifier: BSD-2-Clause
// The lock of a synchronisation object, for a few instructions at a time; held across a switch only as the lock that
// park_locked hands over.
//
// An object that only ever one processor uses, as most do for a while, is biased to it: the worker that holds the
// processor then takes the lock with two plain stores, because fibers of one processor never run at the same time.
// Anybody else revokes the bias first and pays for both (heavy_barrier, 1 to 3 us). What makes it right:
//
//   owner     held = 1; compiler barrier; is the bias still mine? Then it has the lock; else held = 0, the other way.
//   revoker   bias = revoking (compare-and-swap: one of them); heavy barrier; waits for held == 0; bias = none.
//
// After the heavy barrier either the owner's `held` is visible or the owner will see `revoking`. Without a bias the
// lock is a spin lock on `word`; who has got that makes sure that no bias has come meanwhile. A bias is set by the
// holder of `word`, after as many lockings by one processor as make up for a revocation, twice as many after each.
#pragma once

#include <type_traits>

#include "fiber/object.h"
#include "probe/emit.h"
#include "sched/biased_lock.h"
#include "sched/seeded.h"
#include "sched/this_worker.h"

namespace fiber::detail {

// What objects that are biased to the processor say.
// If it is known that nobody listens to channels or locks.
inline std::uint16_t bias_unwatched(const Processor* processor) {
  // With a seed everybody goes the other way, where lock_object_at_entry may yield.
  const bool usual = asymmetric_available() && !seeded::on();
  return usual ? static_cast<std::uint16_t>(processor->record.index + 1) : kNoBias;
}
// None while somebody listens: the way of the bias has no probes (with_lock_at_entry).
inline std::uint16_t bias_of(const Processor* processor) {
  return probe::channels_watched() || probe::locks_watched() ? kNoBias : bias_unwatched(processor);
}

// The byte to set to 0 to unlock.
using LockByte = std::atomic<std::uint8_t>;
inline void unlock_object(LockByte& held) { held.store(0, std::memory_order_release); }

LockByte& lock_object_unbiased(ObjectLock& lock, const Worker* worker);
LockByte& lock_object_yielding(ObjectLock& lock, const Worker* worker);

template <LockByte& (*otherwise)(ObjectLock&, const Worker*) = lock_object_unbiased>
[[gnu::always_inline]] inline LockByte& lock_object(ObjectLock& lock) {
  const Worker* worker = this_worker();
  if (worker != nullptr && lock_biased<AsymmetricAtomics>(lock, worker->bias)) [[likely]]
    return lock.held;
  return otherwise(lock, worker);
}

// For the lock that a public operation begins with: a synchronisation point (sched/seeded.h) that is free when there is
// no seed. The caller holds no other lock.
[[gnu::always_inline]] inline LockByte& lock_object_at_entry(ObjectLock& lock) {
  return lock_object<lock_object_yielding>(lock);
}

// The same for an operation that has something to tell: body(held, heard) has to unlock. `heard` is a false_type on the
// way of the bias, where nobody listens as far as this processor has noticed, else a true_type. A lambda that is always
// inlined: there are two copies of it, and the frequent one is as short as if there were no probes.
template <class Body>
[[gnu::always_inline]] inline auto with_lock_at_entry(ObjectLock& lock, Body body) {
  const Worker* worker = this_worker();
  if (worker != nullptr && lock_biased<AsymmetricAtomics>(lock, worker->bias)) [[likely]] {
    return body(lock.held, std::false_type());
  }
  return body(lock_object_yielding(lock, worker), std::true_type());
}

}  // namespace fiber::detail
