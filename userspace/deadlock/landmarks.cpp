// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/landmarks.h"

#include <fiberprof/registry.h>

#include <algorithm>

namespace fiberprof {
namespace {

uint64_t end_of(const RegistryLayout& layout, std::initializer_list<fiberprof_field_index> fields) {
  uint64_t end = 0;
  for (const auto field : fields)
    end = std::max<uint64_t>(end, uint64_t{layout.where(field).offset} + layout.where(field).size);
  return end;
}

}  // namespace

Landmarks::Landmarks(const State& state, const Image& image, const Heap& heap, const RegistryLayout& layout)
    : state_(state), image_(image), heap_(heap) {
  slot_size_ = layout.head.fiber_size;
  const uint64_t object_size =
      end_of(layout, {FIBERPROF_FIELD_object_kind, FIBERPROF_FIELD_object_lock, FIBERPROF_FIELD_object_owner,
                      FIBERPROF_FIELD_object_waiters, FIBERPROF_FIELD_object_name, FIBERPROF_FIELD_object_count});
  const uint64_t channel_size =
      end_of(layout, {FIBERPROF_FIELD_channel_length, FIBERPROF_FIELD_channel_capacity,
                      FIBERPROF_FIELD_channel_receivers, FIBERPROF_FIELD_channel_creator_pc,
                      FIBERPROF_FIELD_channel_send_handle, FIBERPROF_FIELD_channel_receive_handle});
  const uint64_t context_size =
      end_of(layout, {FIBERPROF_FIELD_context_parent, FIBERPROF_FIELD_context_scope, FIBERPROF_FIELD_context_deadline,
                      FIBERPROF_FIELD_context_sources, FIBERPROF_FIELD_context_cancel_handle});
  for (int field = FIBERPROF_FIELD_fiber_id; field <= FIBERPROF_FIELD_fiber_name; ++field)
    record_size_ = std::max(record_size_, end_of(layout, {static_cast<fiberprof_field_index>(field)}));
  send_ = layout.where(FIBERPROF_FIELD_channel_send_handle);
  receive_ = layout.where(FIBERPROF_FIELD_channel_receive_handle);
  cancel_ = layout.where(FIBERPROF_FIELD_context_cancel_handle);

  for (const auto& [address, object] : state.objects) {
    nodes_.insert(object.nodes.begin(), object.nodes.end());
    if (!object.readable()) continue;
    const uint32_t kind = object.seen[1]->kind;
    const uint64_t size = kind == FIBERPROF_OBJECT_CHANNEL   ? channel_size
                          : kind == FIBERPROF_OBJECT_CONTEXT ? context_size
                                                             : object_size;
    objects_.push_back({address, size, kind, heap.find(address), range_at(image.stacks, address)});
  }
  std::sort(objects_.begin(), objects_.end(), [](const Object& a, const Object& b) { return a.address < b.address; });
  for (size_t i = 0; i < objects_.size(); ++i) {
    const Object& object = objects_[i];
    index_.emplace(object.address, i);
    if (object.chunk >= 0)
      in_chunk_[object.chunk].push_back(i);
    else if (object.stack != nullptr)
      on_stack_[object.stack->start].push_back(i);
  }
  for (size_t i = 0; i < state.fibers.size(); ++i) fiber_of_stack_.emplace(state.fibers[i].info.stack_low, i);
  const auto cover = [&](uint64_t start, uint64_t end) {
    for (uint64_t stretch = start >> kStretchBits; stretch <= (end - 1) >> kStretchBits; ++stretch)
      stretches_[stretch & (stretches_.size() - 1)] = 1;
  };
  for (const Object& object : objects_) cover(object.address, object.address + object.size);
  for (const Range& range : heap.tracked()) cover(range.start, range.end);
  for (const Range& range : image.stacks) cover(range.start, range.end);
}

std::ptrdiff_t Landmarks::object_at(uint64_t address) const {
  const auto after = std::upper_bound(objects_.begin(), objects_.end(), address,
                                      [](uint64_t value, const Object& object) { return value < object.address; });
  if (after == objects_.begin()) return -1;
  const auto object = after - 1;
  return address < object->address + object->size ? object - objects_.begin() : -1;
}

std::ptrdiff_t Landmarks::find(uint64_t address) const {
  const auto found = index_.find(address);
  return found == index_.end() ? -1 : static_cast<std::ptrdiff_t>(found->second);
}

uint8_t Landmarks::rights(const Object& object, uint64_t word, const Source& source) const {
  if (object.kind == FIBERPROF_OBJECT_CONTEXT) {
    const bool whole = word == object.address, handle = word == object.address + cancel_.offset;
    return cancel_.size == 0 || (!whole && !handle) || source.running || handle ? bit(Right::cancel) : 0;
  }
  uint8_t rights = bit(Right::send) | bit(Right::receive);
  if (send_.size != 0 && word == object.address + send_.offset) {
    rights = bit(Right::send);
  } else if (receive_.size != 0 && word == object.address + receive_.offset) {
    rights = bit(Right::receive);
  } else if (source.parked != nullptr && send_.size != 0) {
    // An operation in progress is the wait itself, and can do no more than that.
    uint8_t operations = 0;
    for (const Alternative& wait : source.parked->alternatives)
      if (wait.resource == object.address)
        operations |= bit(wait.reason == FIBERPROF_REASON_CHAN_SEND ? Right::send : Right::receive);
    if (operations != 0) rights = operations;
  }
  return rights | bit(Right::touch);
}

uint64_t Landmarks::address_of(uint64_t word) { return word & kAddressBits; }

const FiberState* Landmarks::fiber_on(const Range& stack) const {
  const auto found = fiber_of_stack_.find(stack.start);
  return found == fiber_of_stack_.end() ? nullptr : &state_.fibers[found->second];
}

Range Landmarks::stack_part(const FiberInfo& fiber) const {
  uint64_t from = fiber.sp >= fiber.stack_low && fiber.sp < fiber.stack_high
                      ? std::max(fiber.stack_low, fiber.sp - kRedZone)
                      : fiber.stack_low;
  for (const StoppedThread& thread : image_.threads)
    if (thread.sp >= fiber.stack_low && thread.sp < fiber.stack_high) from = fiber.stack_low;
  return {from, fiber.stack_high};
}

Range Landmarks::own_part(const FiberInfo& fiber) const { return {fiber.slot + record_size_, fiber.slot + slot_size_}; }

}  // namespace fiberprof
