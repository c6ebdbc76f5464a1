// SPDX-License-Identifier: BSD-2-Clause
// The blocks that malloc has handed out, found from outside by the headers that glibc keeps before each: in the main
// arena, in the arenas of threads, and those with a mapping of their own;
// and which of them it has got back, whose old contents lead nowhere. Whatever does not add up from end to end is
// not taken apart: it then counts as reachable, which costs findings and no false one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "deadlock/image.h"

namespace fiberprof {

struct Chunk {
  uint64_t start = 0, end = 0;  // of what the program may use
  bool free = false;            // by the allocator's own account
};

class Heap {
 public:
  explicit Heap(const Image& image);
  // Index in chunks() of the block that holds an address; -1: none does.
  std::ptrdiff_t find(uint64_t address) const;
  const std::vector<Chunk>& chunks() const { return chunks_; }
  // Memory that was taken apart: all of it is chunks and their headers. Ascending.
  const std::vector<Range>& tracked() const { return tracked_; }

 private:
  void main_arena(const Mapping& heap);
  void thread_arena(uint64_t heap, uint64_t end);
  void own_mappings(const Mapping& mapping);
  void main_state(const Piece& piece);
  bool walk(uint64_t first, uint64_t end, uint64_t top);
  void free_cached();
  void free_fast(uint64_t arena);
  bool free_list(uint64_t first, size_t size, size_t length, bool headers);
  Chunk* chunk_from(uint64_t start);
  template <class T>
  bool read(uint64_t address, T& value) const;

  const Image& image_;
  std::vector<Chunk> chunks_;
  std::vector<Range> tracked_;
  std::vector<uint64_t> tops_, arenas_;  // top chunks; arenas of threads
};

}  // namespace fiberprof
