// SPDX-License-Identifier: BSD-2-Clause
// What every synchronisation object begins with. Tools find it at the address that a fiber's record gives as the
// resource of its wait (fiberprof_object in fiberprof/registry.h, where each field is described).
#pragma once

#include <atomic>
#include <cstdint>

#include "fiber/config.h"

namespace fiber::detail {

struct Waiter;
struct Layout;  // the runtime's: checks where fields are

// Values as FIBERPROF_OBJECTS in fiberprof/registry.h.
enum class ObjectKind : std::uint32_t {
  mutex = 1,
  rwlock = 2,
  condition = 3,
  wait_group = 4,
  once = 5,
  semaphore = 6,
  barrier = 7,
  channel = 8,
  context = 9,
};

// Who waits, in order of arrival. Guarded by the lock of its object.
struct WaitQueue {
  Waiter* head = nullptr;
  Waiter* tail = nullptr;
};

// runtime/sched/object_lock.h
struct ObjectLock {
  std::atomic<std::uint8_t> word{0};  // 1: held by whoever exchanged it
  std::atomic<std::uint8_t> held{0};  // 1: held by the processor it is biased to, or that processor is about to see
  std::uint16_t unused = 0;
  std::atomic<std::uint16_t> bias{0};  // index of a processor, plus one; 0: none
  // guarded by `word`
  std::uint16_t recent = 0;  // who locked it last, as in `bias`
  std::uint16_t streak = 0;  // and how often in a row
  std::uint16_t backoff = 0;
};

struct Object {
  ObjectKind kind;
  ObjectLock lock;                      // over everything but the owner
  std::atomic<std::uint64_t> owner{0};  // fiber id, or that of a thread; 0: nobody
  WaitQueue waiters;
  const char* name;  // static lifetime; null: none
  std::atomic<std::int64_t> count{0};

  constexpr explicit Object(ObjectKind its_kind, const char* its_name = nullptr, std::int64_t its_count = 0)
      : kind(its_kind), name(its_name), count(its_count) {}
};

// Ends the process: "wait group 0x1234 made with a count of -1".
[[noreturn]] FIBER_API void bad_count(const Object& object, const char* what, std::int64_t count);

}  // namespace fiber::detail
