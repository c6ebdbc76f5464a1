// SPDX-License-Identifier: BSD-2-Clause
// Looks at the runtime as an outside reader does: only through the registry and the offsets it describes.
#pragma once

#include <fiber/all.h>
#include <fiberprof/registry.h>

#include <cstdint>
#include <cstring>
#include <vector>

extern "C" fiberprof_registry fiberprof_registry;

namespace observe {

// One described field of the structure at `address`, which the caller knows to be readable. Races with whoever writes
// it, as a reader in another process does.
[[gnu::noinline, gnu::no_sanitize("thread")]] inline std::uint64_t field(std::uint64_t address,
                                                                         fiberprof_field_index index) {
  const fiberprof_field& described = fiberprof_registry.fields[index];
  const auto* at = reinterpret_cast<const char*>(address) + described.offset;
  switch (described.size) {
    case 1:
      return __atomic_load_n(reinterpret_cast<const std::uint8_t*>(at), __ATOMIC_ACQUIRE);
    case 2:
      return __atomic_load_n(reinterpret_cast<const std::uint16_t*>(at), __ATOMIC_ACQUIRE);
    case 4:
      return __atomic_load_n(reinterpret_cast<const std::uint32_t*>(at), __ATOMIC_ACQUIRE);
    case 8:
      return __atomic_load_n(reinterpret_cast<const std::uint64_t*>(at), __ATOMIC_ACQUIRE);
    default:
      return ~std::uint64_t{0};
  }
}
#define OBSERVE(address, structure, name) observe::field(address, FIBERPROF_FIELD_##structure##_##name)

inline std::uint64_t address(const void* object) { return reinterpret_cast<std::uint64_t>(object); }

// Addresses of all fiber slots in use.
inline std::vector<std::uint64_t> fibers() {
  std::vector<std::uint64_t> found;
  const auto* slabs = reinterpret_cast<const std::uint64_t*>(fiberprof_registry.fiber_slabs);
  const std::uint32_t count = __atomic_load_n(&fiberprof_registry.fiber_slab_count, __ATOMIC_ACQUIRE);
  for (std::uint32_t slab = 0; slab < count; ++slab) {
    for (std::uint32_t i = 0; i < fiberprof_registry.fibers_per_slab; ++i) {
      const std::uint64_t at = slabs[slab] + std::uint64_t{i} * fiberprof_registry.fiber_size;
      if (OBSERVE(at, fiber, id) != 0) found.push_back(at);
    }
  }
  return found;
}

// Fibers parked with that object as their resource.
inline std::vector<std::uint64_t> parked_on(const void* object) {
  std::vector<std::uint64_t> found;
  for (const std::uint64_t fiber : fibers()) {
    if (OBSERVE(fiber, fiber, state) == FIBERPROF_FIBER_PARKED && OBSERVE(fiber, fiber, resource) == address(object)) {
      found.push_back(fiber);
    }
  }
  return found;
}

// Yields until that many fibers are parked on it.
inline void await_parked(const void* object, std::size_t count) {
  while (parked_on(object).size() != count) fiber::yield();
}

}  // namespace observe
