// SPDX-License-Identifier: BSD-2-Clause
#include "process/registry_layout.h"

#include <algorithm>
#include <cstddef>

namespace fiberprof {
namespace {

// The structure of each described field, for its bounds.
enum class Structure : uint8_t {
  fiber,
  arm,
  processor,
  worker,
  object,
  waiter,
  wait_group,
  channel,
  context,
  semaphore,
  barrier,
  registry
};
constexpr Structure kStructureOf[] = {
#define FIBERPROF_ROW(structure, field) Structure::structure,
    FIBERPROF_FIELDS(FIBERPROF_ROW)
#undef FIBERPROF_ROW
};

tl::unexpected<Error> wrong(std::string why) { return fail("", std::move(why)); }

}  // namespace

Result<RegistryLayout> RegistryLayout::parse(const char* bytes, size_t size) {
  RegistryLayout layout;
  constexpr size_t kHead = offsetof(fiberprof_registry, fields);
  if (size < kHead) return wrong("its registry is cut short");
  std::memcpy(&layout.head, bytes, kHead);
  const fiberprof_registry& head = layout.head;
  static const char kMagic[sizeof head.magic] = FIBERPROF_REGISTRY_MAGIC;
  if (std::all_of(std::begin(head.magic), std::end(head.magic), [](char c) { return c == 0; }))
    return wrong("its fiber runtime has not started yet");
  if (std::memcmp(head.magic, kMagic, sizeof kMagic) != 0) return wrong("what should be its registry is not one");
  if (head.version != FIBERPROF_REGISTRY_VERSION)
    return wrong("its registry has version " + std::to_string(head.version) + ", this fiberprof reads version " +
                 std::to_string(FIBERPROF_REGISTRY_VERSION));
  const auto size_ok = [](uint32_t value) { return value >= 8 && value <= kMaxStructSize; };
  if (head.pointer_size != 8 || head.header_size < kHead || head.header_size > kMaxStructSize ||
      !size_ok(head.fiber_size) || !size_ok(head.arm_size) || !size_ok(head.processor_size) ||
      !size_ok(head.worker_size))
    return wrong("its registry describes structures of impossible sizes");
  if (head.processor_count > kMaxProcessors || head.worker_count > kMaxWorkers ||
      uint64_t{head.fiber_slab_count} * head.fibers_per_slab > kMaxSlots ||
      uint64_t{head.fiber_slab_count} * head.fibers_per_slab * head.fiber_size > kMaxSlotBytes)
    return wrong("its registry claims impossible numbers of fibers, processors or workers");

  const size_t described = std::min<size_t>(
      {head.field_count, FIBERPROF_FIELD_COUNT, (std::min<size_t>(size, head.header_size) - kHead) / 4});
  std::memcpy(layout.fields_.data(), bytes + kHead, described * sizeof(fiberprof_field));
  for (size_t i = 0; i < described; ++i) {
    const fiberprof_field field = layout.fields_[i];
    const uint32_t limit = kStructureOf[i] == Structure::fiber       ? head.fiber_size
                           : kStructureOf[i] == Structure::arm       ? head.arm_size
                           : kStructureOf[i] == Structure::processor ? head.processor_size
                           : kStructureOf[i] == Structure::worker    ? head.worker_size
                                                                     : kMaxStructSize;  // not in an array
    if (uint32_t{field.offset} + field.size > limit)
      return wrong("its registry describes a field outside its structure");
  }
  for (const fiberprof_field_index needed : {FIBERPROF_FIELD_fiber_id, FIBERPROF_FIELD_fiber_sequence,
                                             FIBERPROF_FIELD_fiber_state, FIBERPROF_FIELD_worker_tid})
    if (layout.fields_[needed].size == 0 || layout.fields_[needed].size > 8)
      return wrong("its registry lacks a field that cannot be done without");
  return layout;
}

std::string RegistryLayout::text(const char* bytes, fiberprof_field_index field) const {
  const auto [offset, size] = fields_[field];
  const char* const begin = bytes + offset;
  return {begin, std::find(begin, begin + size, '\0')};
}

}  // namespace fiberprof
