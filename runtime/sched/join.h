// SPDX-License-Identifier: BSD-2-Clause
// The protocol between a fiber that ends and the one that waits for it: one word, which says who waits, or that the
// end has come. A template over the atomics, explored in tests/model.
#pragma once

#include <atomic>
#include <cstdint>

namespace fiber::detail::join {

// Else the address of the waiter's claim. finishing: the fiber is done with everything but that claim.
inline constexpr std::uintptr_t kNobody = 0, kFinished = 1, kFinishing = 2;

// The waiter comes. kNobody: it must wait for its claim. kFinished or kFinishing: it need not. Else: another one waits.
template <class Word>
std::uintptr_t enter(Word& word, std::uintptr_t claim) {
  std::uintptr_t seen = kNobody;
  word.compare_exchange_strong(seen, claim, std::memory_order_acq_rel);
  return seen;
}

// The waiter, whose claim somebody else has won, gives up. True: the fiber has not ended, and will not touch the claim.
// False: it has, and may still be about to try the claim: settled() says when it is done with it.
template <class Word>
bool leave(Word& word, std::uintptr_t claim) {
  return word.compare_exchange_strong(claim, kNobody, std::memory_order_acq_rel);
}
template <class Word>
bool settled(const Word& word) {
  return word.load(std::memory_order_acquire) != kFinishing;
}

// The fiber has ended. Calls wake(claim) if somebody waits.
template <class Word, class Wake>
void finish(Word& word, Wake wake) {
  std::uintptr_t waiter = word.load(std::memory_order_acquire);
  // A waiter may come or go meanwhile.
  while (!word.compare_exchange_weak(waiter, waiter == kNobody ? kFinished : kFinishing, std::memory_order_acq_rel,
                                     std::memory_order_acquire)) {
  }
  if (waiter == kNobody) return;
  wake(waiter);
  word.store(kFinished, std::memory_order_release);
}

}  // namespace fiber::detail::join
