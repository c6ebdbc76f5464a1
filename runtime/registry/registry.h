// SPDX-License-Identifier: BSD-2-Clause
// The runtime's side of the registry (include/fiberprof/registry.h): it fills in what outside readers look at.
#pragma once

#include <atomic>
#include <cstdint>

#include "sched/fiber.h"
#include "sched/processor.h"

extern "C" __attribute__((visibility("default"))) fiberprof_registry fiberprof_registry;

// The same object. The exported name is reached through the global offset table, this one is not.
extern "C" __attribute__((visibility("hidden"))) struct fiberprof_registry fiber_registry_here;

namespace fiber::detail {

// Coarse CLOCK_MONOTONIC, ns: the monitor's last tick. They are 1 to 5 ms apart while a profiler is attached
// (sched/tick_pace.h), else 10. Even, see Fiber::closer_look.
inline std::uint64_t coarse_clock() { return __atomic_load_n(&fiber_registry_here.clock_ns, __ATOMIC_RELAXED); }
inline std::uint64_t coarse(std::uint64_t ns) { return ns & ~std::uint64_t{1}; }
inline void set_coarse_clock(std::uint64_t ns) { publish(fiber_registry_here.clock_ns, coarse(ns)); }

// Changes the state as seen from outside, with the coarse time of the change.
inline void publish_state(Fiber* fiber, fiberprof_fiber_state state) {
  publish(fiber->record.state, static_cast<std::uint8_t>(state));
}
inline void set_state(Fiber* fiber, fiberprof_fiber_state state) {
  publish_state(fiber, state);
  publish(fiber->record.since, coarse_clock());
}

// A new slot in type-stable memory. Null when there is no memory. Thread-safe.
Fiber* registry_new_slot();
void registry_publish_processors(Processor* const* processors, std::uint32_t count);
// Worker slots are only ever appended; `index` counts from 0 without gaps. False when there are too many.
bool registry_publish_worker(std::uint32_t index, fiberprof_worker* record);
void registry_started(std::uint64_t now);
// Rewrites a slot for a new fiber, or as free: between these two the sequence is odd.
void registry_begin_rewrite(Fiber* fiber);
void registry_end_rewrite(Fiber* fiber);
// The first of `count` new ids.
std::uint64_t registry_take_ids(std::uint64_t count);
// How many slots were made so far, in as many slabs as they fill.
extern std::atomic<std::uint64_t> registry_slots;

// Calls visit(fiber) for every slot ever made.
template <class Visit>
void registry_for_each(Visit visit) {
  const std::uint64_t count = registry_slots.load(std::memory_order_acquire);
  const std::uint32_t per_slab = fiberprof_registry.fibers_per_slab;
  if (count == 0) return;
  const auto* slabs =
      reinterpret_cast<const std::uint64_t*>(__atomic_load_n(&fiberprof_registry.fiber_slabs, __ATOMIC_RELAXED));
  for (std::uint64_t i = 0; i < count; ++i) visit(&reinterpret_cast<Fiber*>(slabs[i / per_slab])[i % per_slab]);
}

}  // namespace fiber::detail
