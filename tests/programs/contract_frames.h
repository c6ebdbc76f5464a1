// SPDX-License-Identifier: BSD-2-Clause
// The functions of contract_target that tests look for in stacks. In no namespace, so that their names are plain.
#pragma once

#include <fiberprof/registry.h>

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>

#include "contract_registry.h"

#define FRAME __attribute__((noinline, noipa))

FRAME inline void contract_fiber_entry(const std::function<void()>& body) {
  body();
  __asm__ volatile("" ::: "memory");  // no tail call: this frame must be on the stack
}

FRAME inline void contract_recurse(uint64_t depth, const std::function<void()>& body) {
  if (depth)
    contract_recurse(depth - 1, body);
  else
    body();
  __asm__ volatile("" ::: "memory");
}

// What lies above a user's addresses is never mapped.
inline constexpr uint64_t kNoMemory = uint64_t{1} << 62;

// The caller of this function cannot be found from `body`.
FRAME inline void contract_cut(const std::function<void()>& body) {
  auto* record = static_cast<volatile uint64_t*>(__builtin_frame_address(0));
  const uint64_t caller = *record;
  *record = kNoMemory;
  body();
  *record = caller;
}

FRAME inline void contract_lock(pthread_mutex_t& mutex) {
  pthread_mutex_lock(&mutex);
  pthread_mutex_unlock(&mutex);
  __asm__ volatile("" ::: "memory");
}

FRAME inline void contract_sleep(uint64_t ms) {
  const timespec time{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000 * 1000000)};
  nanosleep(&time, nullptr);
  __asm__ volatile("" ::: "memory");
}

FRAME inline void contract_read(int fd) {
  char byte = 0;
  if (read(fd, &byte, 1) < 0) std::abort();
  __asm__ volatile("" ::: "memory");
}

FRAME inline void contract_spin(uint64_t ms) {
  const uint64_t end = contract_target::now_ns() + ms * 1000000;
  while (contract_target::now_ns() < end) {
  }
}

// Leaves this frame's address as the fiber's saved frame record, and never returns.
FRAME inline void contract_park(fiberprof_fiber& fiber, uint64_t reason, uint64_t ago_ms,
                                const std::function<void()>& parked) {
  const uint64_t now = contract_target::now_ns();
  fiber.id = 1000 + static_cast<uint64_t>(&fiber - contract_target::fiber_slab);
  fiber.reason = static_cast<uint8_t>(reason);
  fiber.resource = 0xabc0;
  fiber.since = now - ago_ms * 1000000;
  fiber.sp = reinterpret_cast<uint64_t>(__builtin_frame_address(0));
  fiber.entry = reinterpret_cast<uint64_t>(&contract_fiber_entry);
  fiber.stack_low = fiber.sp - 65536;
  fiber.stack_high = fiber.sp + 65536;
  std::strcpy(fiber.name, "parked");
  fiberprof_registry.clock_ns = now;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  fiber.state = FIBERPROF_FIBER_PARKED;
  parked();
  for (;;) pause();
}
