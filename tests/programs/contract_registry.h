// SPDX-License-Identifier: BSD-2-Clause
// The hand-made registry of contract_target, which alone includes this: it defines the registry and the note.
#pragma once

#include <fiberprof/registry.h>

#include <time.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace contract_target {

constexpr uint32_t kMaxWorkers = 64, kMaxFibers = 64, kProcessors = 2;

inline uint64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

inline fiberprof_worker worker_records[kMaxWorkers];
inline fiberprof_fiber fiber_slab[kMaxFibers];
inline fiberprof_fiber running[kMaxWorkers];  // of the fibers on workers
inline fiberprof_processor processor_records[kProcessors];
inline const uint64_t slab_addresses[] = {reinterpret_cast<uint64_t>(fiber_slab)};
inline uint64_t processor_addresses[kProcessors];
inline uint64_t worker_addresses[kMaxWorkers];

}  // namespace contract_target

extern "C" {
__attribute__((visibility("default"), used)) fiberprof_registry fiberprof_registry = {};
}

// The note by which a stripped binary is found: link-time addresses of the registry and of the prelink reference.
__asm__(
    ".pushsection .note.fiberprof,\"\",\"note\"\n"
    ".balign 4\n"
    ".4byte 982f-981f, 984f-983f, 1\n"
    "981: .asciz \"fiberprof\"\n"
    "982: .balign 4\n"
    "983: .8byte fiberprof_registry, _.stapsdt.base\n"
    "984: .balign 4\n"
    ".popsection\n");

namespace contract_target {

inline void fill_registry() {
  auto& r = fiberprof_registry;
  std::memcpy(r.magic, FIBERPROF_REGISTRY_MAGIC, sizeof r.magic);
  r.version = FIBERPROF_REGISTRY_VERSION;
  r.header_size = sizeof r;
  r.field_count = FIBERPROF_FIELD_COUNT;
  r.pointer_size = 8;
  r.fiber_size = sizeof(fiberprof_fiber);
  r.arm_size = sizeof(fiberprof_arm);
  r.processor_size = sizeof(fiberprof_processor);
  r.worker_size = sizeof(fiberprof_worker);
  r.fiber_slabs = reinterpret_cast<uint64_t>(slab_addresses);
  r.fiber_slab_count = 1;
  r.fibers_per_slab = kMaxFibers;
  r.fibers_created = kMaxFibers;
  for (uint32_t i = 0; i < kProcessors; ++i) {
    processor_addresses[i] = reinterpret_cast<uint64_t>(&processor_records[i]);
    processor_records[i].index = i;
  }
  for (uint32_t i = 0; i < kMaxWorkers; ++i) worker_addresses[i] = reinterpret_cast<uint64_t>(&worker_records[i]);
  r.processors = reinterpret_cast<uint64_t>(processor_addresses);
  r.processor_count = kProcessors;
  r.workers = reinterpret_cast<uint64_t>(worker_addresses);
  r.clock_ns = r.start_ns = now_ns();
#define FIELD(structure, field)                                             \
  r.fields[FIBERPROF_FIELD_##structure##_##field] = {                       \
      static_cast<uint16_t>(offsetof(struct fiberprof_##structure, field)), \
      static_cast<uint16_t>(sizeof(fiberprof_##structure::field))};
  FIBERPROF_FIELDS(FIELD)
#undef FIELD
}

}  // namespace contract_target
