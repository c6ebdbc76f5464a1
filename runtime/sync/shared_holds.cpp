// SPDX-License-Identifier: BSD-2-Clause
#include "sync/shared_holds.h"

#include "registry/registry.h"

namespace fiber::detail {

namespace {

struct Holds {
  std::uint64_t* locks;
  std::uint32_t* count;
};

struct OfThread {
  std::uint64_t locks[FIBERPROF_SHARED_MAX] = {};
  std::uint32_t count = 0;
};
thread_local constinit OfThread of_thread;

// Not kept across a park by anybody: every function here is one short look.
Holds holds_of(Fiber* fiber) {
  if (fiber != nullptr) return {fiber->record.shared, &fiber->record.shared_len};
  return {of_thread.locks, &of_thread.count};
}

bool replace(const Holds& holds, std::uint64_t old, std::uint64_t value) {
  for (std::size_t i = 0; i < FIBERPROF_SHARED_MAX; ++i) {
    if (holds.locks[i] != old) continue;
    publish(holds.locks[i], value);
    return true;
  }
  return false;
}

}  // namespace

void count_thread_hold(std::int64_t change) {
  __atomic_fetch_add(&fiber_registry_here.thread_shared, static_cast<std::uint64_t>(change), __ATOMIC_SEQ_CST);
}

void hold_shared(Fiber* fiber, const Object& object) {
  const Holds holds = holds_of(fiber);
  publish(*holds.count, *holds.count + 1);
  replace(holds, 0, reinterpret_cast<std::uint64_t>(&object));
}

bool drop_shared(Fiber* fiber, const Object& object) {
  const Holds holds = holds_of(fiber);
  if (!replace(holds, reinterpret_cast<std::uint64_t>(&object), 0)) {
    std::uint32_t known = 0;
    for (std::size_t i = 0; i < FIBERPROF_SHARED_MAX; ++i) known += holds.locks[i] != 0;
    if (known == *holds.count) return false;
  }
  publish(*holds.count, *holds.count - 1);
  return true;
}

bool holds_shared(const Fiber* fiber, const Object& object) {
  const std::uint64_t* locks = fiber != nullptr ? fiber->record.shared : of_thread.locks;
  for (std::size_t i = 0; i < FIBERPROF_SHARED_MAX; ++i) {
    if (locks[i] == reinterpret_cast<std::uint64_t>(&object)) return true;
  }
  return false;
}

void forget_shared(Fiber* fiber) {
  for (std::size_t i = 0; i < FIBERPROF_SHARED_MAX; ++i) publish(fiber->record.shared[i], std::uint64_t{0});
  publish(fiber->record.shared_len, std::uint32_t{0});
}

}  // namespace fiber::detail
