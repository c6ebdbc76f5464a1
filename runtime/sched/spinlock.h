// SPDX-License-Identifier: BSD-2-Clause
// A lock for a few instructions. Never held while a fiber switches away, except as the lock that park_locked hands
// over.
#pragma once

#include <sched.h>
#include <atomic>
#include <cstdint>

namespace fiber {

inline void cpu_pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  asm volatile("yield");
#endif
}

using SpinWord = std::atomic<std::uint32_t>;

// The holder may have been preempted by the kernel: give it the CPU rather than burn it.
template <class T>
void spin_wait(const std::atomic<T>&, int round) {
  if (round < 100) {
    cpu_pause();
  } else {
    sched_yield();
  }
}

// Templates, for tests/model explores them with a word of its own.
template <class Word>
[[gnu::noinline, gnu::cold]] void spin_lock_taken(Word& word) {
  do {
    for (int round = 0; word.load(std::memory_order_relaxed) != 0; ++round) spin_wait(word, round);
  } while (word.exchange(1, std::memory_order_acquire) != 0);
}

// As a call it costs a channel operation 13 instructions.
template <class Word>
[[gnu::always_inline]] inline void spin_lock(Word& word) {
  if (word.exchange(1, std::memory_order_acquire) != 0) [[unlikely]]
    spin_lock_taken(word);
}

inline bool spin_try_lock(SpinWord& word) {
  return word.load(std::memory_order_relaxed) == 0 && word.exchange(1, std::memory_order_acquire) == 0;
}

template <class Word>
void spin_unlock(Word& word) {
  word.store(0, std::memory_order_release);
}

class SpinLock {
 public:
  void lock() { spin_lock(word); }
  bool try_lock() { return spin_try_lock(word); }
  void unlock() { spin_unlock(word); }
  SpinWord word{0};
};

}  // namespace fiber
