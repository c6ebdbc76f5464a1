// SPDX-License-Identifier: BSD-2-Clause
#include "sched/object_lock.h"

#include "sched/spinlock.h"

namespace fiber::detail {

namespace {

constexpr std::uint16_t kUnbiased = 0, kRevoking = 0xfffe;
constexpr unsigned kStreak = 256;  // lockings in a row by one processor: at 5 ns each they are worth a revocation
constexpr std::uint16_t kMostBackoff = 7;

[[gnu::cold, gnu::noinline]] void revoke(ObjectLock& lock) {
  std::uint16_t bias = lock.bias.load(std::memory_order_acquire);
  if (bias == kUnbiased) return;
  if (bias == kRevoking || !lock.bias.compare_exchange_strong(bias, kRevoking, std::memory_order_acq_rel)) {
    sched_yield();
    return;
  }
  heavy_barrier();
  for (int i = 0; lock.held.load(std::memory_order_acquire) != 0; ++i) {
    i < 100 ? cpu_pause() : static_cast<void>(sched_yield());
  }
  // Nobody else writes these while it says `revoking`.
  if (lock.backoff < kMostBackoff) ++lock.backoff;
  lock.streak = 0;
  lock.recent = 0;
  lock.bias.store(kUnbiased, std::memory_order_release);
}

}  // namespace

LockByte& lock_object_unbiased(ObjectLock& lock, const Worker* worker) {
  for (;;) {
    if (lock.bias.load(std::memory_order_relaxed) != kUnbiased) [[unlikely]] revoke(lock);
    if (lock.word.exchange(1, std::memory_order_acquire) == 0) {
      if (lock.bias.load(std::memory_order_acquire) == kUnbiased) break;
      lock.word.store(0, std::memory_order_release);
      continue;
    }
    // The holder may have been preempted by the kernel: give it the CPU rather than burn it.
    for (int i = 0; lock.word.load(std::memory_order_relaxed) != 0; ++i) {
      i < 100 ? cpu_pause() : static_cast<void>(sched_yield());
    }
  }
  if (worker != nullptr && worker->bias != kNoBias) {
    if (lock.recent != worker->bias) {
      lock.recent = worker->bias;
      lock.streak = 0;
    } else if (++lock.streak >= kStreak << lock.backoff) [[unlikely]] {
      lock.streak = 0;
      lock.bias.store(worker->bias, std::memory_order_relaxed);  // in force once `word` is released
    }
  }
  return lock.word;
}

}  // namespace fiber::detail
