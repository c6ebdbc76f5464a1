// SPDX-License-Identifier: BSD-2-Clause
#include "registry/registry.h"

#include <sys/mman.h>
#include <atomic>
#include <cstddef>
#include <mutex>
#include <new>

namespace fiber::detail {

namespace {

constexpr std::uint32_t kFibersPerSlab = 1024;
constexpr std::uint32_t kMaxSlabs = 1u << 16;  // 67 million fibers
constexpr std::uint32_t kMaxWorkers = 1u << 14;

std::mutex slots_mutex;
std::uint32_t slots_used = 0;  // in the newest slab
std::uint64_t slab_addresses[kMaxSlabs];
std::uint64_t worker_addresses[kMaxWorkers];
std::uint64_t processor_addresses[1024];

}  // namespace

}  // namespace fiber::detail

// Everything that does not change is there before main, so a reader that comes early finds a valid registry of nothing.
extern "C" {
__attribute__((visibility("default"), used)) struct fiberprof_registry fiberprof_registry = {
    .magic = FIBERPROF_REGISTRY_MAGIC,
    .version = FIBERPROF_REGISTRY_VERSION,
    .header_size = sizeof(struct fiberprof_registry),
    .field_count = FIBERPROF_FIELD_COUNT,
    .pointer_size = sizeof(void*),
    .fiber_size = sizeof(fiber::detail::Fiber),
    .arm_size = sizeof(fiberprof_arm),
    .processor_size = sizeof(fiber::detail::Processor),
    .worker_size = sizeof(fiber::detail::Worker),
    .fiber_slabs = 0,
    .fiber_slab_count = 0,
    .fibers_per_slab = fiber::detail::kFibersPerSlab,
    .fibers_created = 0,
    .processors = 0,
    .processor_count = 0,
    .worker_count = 0,
    .workers = 0,
    .clock_ns = 0,
    .global_queue_depth = 0,
    .start_ns = 0,
    .fields =
        {
#define FIBER_FIELD(structure, field) \
  {offsetof(struct fiberprof_##structure, field), sizeof(static_cast<struct fiberprof_##structure*>(nullptr)->field)},
            FIBERPROF_FIELDS(FIBER_FIELD)
#undef FIBER_FIELD
        },
    .thread_shared = 0,
};
__attribute__((visibility("hidden"), alias("fiberprof_registry"))) extern struct fiberprof_registry fiber_registry_here;
}

// The note by which outside readers find the registry in stripped binaries too; like the probes' notes it is not
// loaded, so it may hold link-time addresses.
asm(".pushsection .note.fiberprof,\"\",@note\n"
    ".balign 4\n"
    ".4byte 2f-1f, 4f-3f, 1\n"
    "1: .asciz \"" FIBERPROF_NOTE_NAME
    "\"\n"
    "2: .balign 4\n"
    "3: .8byte fiberprof_registry, _.stapsdt.base\n"
    "4: .balign 4\n"
    ".popsection\n"
    ".ifndef _.stapsdt.base\n"
    ".pushsection .stapsdt.base,\"aG\",@progbits,.stapsdt.base,comdat\n"
    ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"
    "_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n"
    ".popsection\n"
    ".endif\n");
static_assert(FIBERPROF_NOTE_REGISTRY == 1);

namespace fiber::detail {

std::atomic<std::uint64_t> registry_slots{0};

Fiber* registry_new_slot() {
  std::lock_guard guard(slots_mutex);
  const std::uint32_t slabs = fiberprof_registry.fiber_slab_count;
  if (slabs == 0 || slots_used == kFibersPerSlab) {
    if (slabs == kMaxSlabs) return nullptr;
    void* slab = mmap(nullptr, kFibersPerSlab * sizeof(Fiber), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (slab == MAP_FAILED) return nullptr;
    // Fresh pages read as zero, which is what a free slot looks like; objects are built one by one below.
    slab_addresses[slabs] = reinterpret_cast<std::uint64_t>(slab);
    publish(fiberprof_registry.fiber_slabs, reinterpret_cast<std::uint64_t>(slab_addresses));
    __atomic_store_n(&fiberprof_registry.fiber_slab_count, slabs + 1, __ATOMIC_RELEASE);
    slots_used = 0;
  }
  auto* fibers = reinterpret_cast<Fiber*>(slab_addresses[fiberprof_registry.fiber_slab_count - 1]);
  Fiber* made = new (&fibers[slots_used++]) Fiber();
  registry_slots.fetch_add(1, std::memory_order_release);
  return made;
}

void registry_publish_processors(Processor* const* processors, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i)
    processor_addresses[i] = reinterpret_cast<std::uint64_t>(&processors[i]->record);
  publish(fiberprof_registry.processors, reinterpret_cast<std::uint64_t>(processor_addresses));
  __atomic_store_n(&fiberprof_registry.processor_count, count, __ATOMIC_RELEASE);
}

bool registry_publish_worker(std::uint32_t index, fiberprof_worker* record) {
  if (index >= kMaxWorkers) return false;
  worker_addresses[index] = reinterpret_cast<std::uint64_t>(record);
  publish(fiberprof_registry.workers, reinterpret_cast<std::uint64_t>(worker_addresses));
  __atomic_store_n(&fiberprof_registry.worker_count, index + 1, __ATOMIC_RELEASE);
  return true;
}

void registry_started(std::uint64_t now) {
  // A processor's fiber is its worker's; a second store on every switch would say nothing new.
  fiberprof_registry.fields[FIBERPROF_FIELD_processor_current_fiber].size = 0;
  fiberprof_registry.fields[FIBERPROF_FIELD_worker_fiber_entry].size = 0;  // nor would what the fiber's record says
  publish(fiberprof_registry.start_ns, now);
  set_coarse_clock(now);
}

void registry_begin_rewrite(Fiber* fiber) {
  publish(fiber->record.sequence, fiber->record.sequence + 1);
  std::atomic_thread_fence(std::memory_order_release);
}

void registry_end_rewrite(Fiber* fiber) {
  std::atomic_thread_fence(std::memory_order_release);
  publish(fiber->record.sequence, fiber->record.sequence + 1);
}

std::uint64_t registry_take_ids(std::uint64_t count) {
  return __atomic_fetch_add(&fiberprof_registry.fibers_created, count, __ATOMIC_RELAXED) + 1;
}

const char* reason_text(Reason reason) {
  static constexpr const char* texts[] = {
#define FIBER_REASON_TEXT(value, name, text) text,
      FIBERPROF_REASONS(FIBER_REASON_TEXT)
#undef FIBER_REASON_TEXT
  };
  const auto index = static_cast<std::size_t>(reason);
  return index < std::size(texts) ? texts[index] : "?";
}

}  // namespace fiber::detail
