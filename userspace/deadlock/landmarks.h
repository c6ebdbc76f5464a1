// SPDX-License-Identifier: BSD-2-Clause
// What a word in memory may mean: the objects that somebody waits for, the blocks of the heap, the stacks of fibers.
//
// Any word may be a pointer, and a pointer into something leads to all of it (Boehm). What the runtime itself keeps
// about waits leads nowhere: queues of waiters, records of fibers. Else everything that waits for something reachable
// would be reachable.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "deadlock/heap.h"
#include "deadlock/image.h"
#include "deadlock/solver.h"

namespace fiberprof {

inline uint8_t bit(Right right) { return static_cast<uint8_t>(right); }

class Landmarks {
 public:
  static constexpr uint64_t kRedZone = 128;  // bytes below a stack pointer that may be in use
  struct Object {                            // that somebody waits for
    uint64_t address = 0, size = 0;
    uint32_t kind = 0;
    std::ptrdiff_t chunk = -1;     // the block it lies in
    const Range* stack = nullptr;  // the stack it lies on
  };
  // Whose memory a word is in: what the address of a channel means depends on it.
  struct Source {
    const FiberState* parked = nullptr;  // its stack: words there may belong to the operation it waits in
    bool running = false;                // a thread's registers and stack: any operation may be under way
  };

  // All of them must outlive it.
  Landmarks(const State& state, const Image& image, const Heap& heap, const RegistryLayout& layout);

  const std::vector<Object>& objects() const { return objects_; }  // ascending by address
  // Index in objects(): of the one whose head holds an address, or begins there; -1: none.
  std::ptrdiff_t object_at(uint64_t address) const;
  std::ptrdiff_t find(uint64_t address) const;
  // Indices of the objects in a block, or on the stack with that lower end.
  std::span<const size_t> in_chunk(std::ptrdiff_t chunk) const { return of(in_chunk_, chunk); }
  std::span<const size_t> on_stack(uint64_t low) const { return of(on_stack_, low); }
  // What a word in the head of a channel or a context gives: bits of Right.
  uint8_t rights(const Object& object, uint64_t word, const Source& source) const;
  // An address without what a program may keep above the bits that it needs.
  static uint64_t address_of(uint64_t word);
  // Whether that is a record of a wait, in a queue.
  bool is_waiter(uint64_t address) const { return nodes_.contains(address); }
  const FiberState* fiber_on(const Range& stack) const;  // null: no fiber has it now
  const Range* stack_at(uint64_t address) const { return range_at(image_.stacks, address); }
  const Heap& heap() const { return heap_; }
  const Image& image() const { return image_; }
  // The part of a fiber's stack that is in use; and what the runtime keeps that is the fiber's own, behind the record
  // that the registry describes.
  Range stack_part(const FiberInfo& fiber) const;
  Range own_part(const FiberInfo& fiber) const;

  // Calls visit(word) for those of the words that begin at every `step` bytes that may lead somewhere.
  template <class Visit>
  void words(std::span<const char> memory, size_t step, Visit visit) const;
  // Calls visit(bytes) for a stretch of memory but for the heads of objects, which lead to those who wait for them.
  template <class Visit>
  void but_heads(uint64_t start, uint64_t end, Visit visit) const;

 private:
  template <class Map>
  static std::span<const size_t> of(const Map& map, typename Map::key_type key) {
    const auto found = map.find(key);
    return found == map.end() ? std::span<const size_t>() : std::span<const size_t>(found->second);
  }

  const State& state_;
  const Image& image_;
  const Heap& heap_;
  uint64_t record_size_ = 0, slot_size_ = 0;
  fiberprof_field send_{}, receive_{}, cancel_{};
  std::vector<Object> objects_;
  std::unordered_map<uint64_t, size_t> index_;           // in objects_, by address
  std::unordered_set<uint64_t> nodes_;                   // waiters in queues
  std::unordered_map<uint64_t, size_t> fiber_of_stack_;  // by its lower end; index in State::fibers
  std::unordered_map<std::ptrdiff_t, std::vector<size_t>> in_chunk_;
  std::unordered_map<uint64_t, std::vector<size_t>> on_stack_;
  // Which stretches of 2 MiB hold something that a word may lead to, by their numbers' low bits: nearly all words are
  // dismissed by one look at it.
  static constexpr int kStretchBits = 21, kTableBits = 19;
  std::vector<uint8_t> stretches_ = std::vector<uint8_t>(size_t{1} << kTableBits);
};

template <class Visit>
void Landmarks::words(std::span<const char> memory, size_t step, Visit visit) const {
  if (memory.size() < 8) return;
  const uint8_t* const stretches = stretches_.data();
  for (size_t at = 0; at <= memory.size() - 8; at += step) {
    uint64_t value = 0;
    std::memcpy(&value, memory.data() + at, sizeof value);
    if (stretches[(value >> kStretchBits) & ((uint64_t{1} << kTableBits) - 1)] != 0) [[unlikely]]
      visit(value, at);
  }
}

template <class Visit>
void Landmarks::but_heads(uint64_t start, uint64_t end, Visit visit) const {
  const auto part = [&](uint64_t from, uint64_t to) {
    image_.each(from, to, [&](uint64_t at, std::span<const char> memory) { visit(at, memory); });
  };
  auto object = std::lower_bound(objects_.begin(), objects_.end(), start,
                                 [](const Object& one, uint64_t address) { return one.address + one.size <= address; });
  for (; object != objects_.end() && object->address < end; ++object) {
    if (object->address > start) part(start, object->address);
    start = std::max(start, object->address + object->size);
  }
  if (start < end) part(start, end);
}

}  // namespace fiberprof
