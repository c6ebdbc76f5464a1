// SPDX-License-Identifier: BSD-2-Clause
// The protocol of object_lock.h, which says what it does and why it is right. Templates, for tests/model explores them:
// `Lock` has the fields of ObjectLock, `Policy` the barriers (asymmetric.h).
#pragma once

#include <cstdint>

#include "sched/asymmetric.h"
#include "sched/spinlock.h"

namespace fiber::detail {

// Of a worker that must not use a bias: it has no processor, or is in a blocking section and may lose it.
inline constexpr std::uint16_t kNoBias = 0xffff;
// What `bias` of a lock also says.
inline constexpr std::uint16_t kUnbiased = 0, kRevoking = 0xfffe;

inline constexpr std::uint16_t kMostBiasBackoff = 7;

// Whether the caller, whose processor `mine` is, has got the lock by its bias. By reference: read twice, that is an
// instruction less.
template <class Policy, class Lock>
[[gnu::always_inline]] inline bool lock_biased(Lock& lock, const std::uint16_t& mine) {
  if (lock.bias.load(std::memory_order_relaxed) != mine) [[unlikely]]
    return false;
  lock.held.store(1, std::memory_order_relaxed);
  Policy::light_barrier();
  if (lock.bias.load(std::memory_order_relaxed) == mine) [[likely]]
    return true;
  lock.held.store(0, std::memory_order_relaxed);
  return false;
}

template <class Policy, class Lock>
[[gnu::cold, gnu::noinline]] void revoke_bias(Lock& lock) {
  std::uint16_t bias = lock.bias.load(std::memory_order_relaxed);
  if (bias == kUnbiased) return;
  if (bias == kRevoking) return spin_wait(lock.bias, 100);
  if (!lock.bias.compare_exchange_strong(bias, kRevoking, std::memory_order_acq_rel)) return;
  Policy::heavy_barrier();
  for (int round = 0; lock.held.load(std::memory_order_acquire) != 0; ++round) spin_wait(lock.held, round);
  // Nobody else writes these while it says `revoking`.
  if (lock.backoff < kMostBiasBackoff) ++lock.backoff;
  lock.streak = 0;
  lock.recent = 0;
  lock.bias.store(kUnbiased, std::memory_order_release);
}

// Gets `word`, with no bias set. `streak`: after how many lockings by `mine` in a row it is biased to that.
template <class Policy, class Lock>
[[gnu::always_inline]] inline void lock_word(Lock& lock, std::uint16_t mine, unsigned streak) {
  for (;;) {
    if (lock.bias.load(std::memory_order_relaxed) != kUnbiased) [[unlikely]]
      revoke_bias<Policy>(lock);
    if (lock.word.exchange(1, std::memory_order_acquire) == 0) {
      if (lock.bias.load(std::memory_order_acquire) == kUnbiased) break;
      lock.word.store(0, std::memory_order_release);
      continue;
    }
    // The holder may have been preempted by the kernel: give it the CPU rather than burn it.
    for (int round = 0; lock.word.load(std::memory_order_relaxed) != 0; ++round) spin_wait(lock.word, round);
  }
  if (mine == kNoBias) return;
  if (lock.recent != mine) {
    lock.recent = mine;
    lock.streak = 0;
  } else if (++lock.streak >= streak << lock.backoff) [[unlikely]] {
    lock.streak = 0;
    lock.bias.store(mine, std::memory_order_relaxed);  // in force once `word` is released
  }
}

}  // namespace fiber::detail
