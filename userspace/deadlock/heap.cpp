// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/heap.h"

#include <algorithm>
#include <cstring>

namespace fiberprof {
namespace {

// malloc/malloc.c and malloc/arena.c of glibc 2.26 to 2.41: a chunk begins with the size of the one before, if that is
// free, and its own, whose low bits say whether the one before is in use, whether it has a mapping of its own, and
// whether it is of a thread's arena.
constexpr uint64_t kPreviousInUse = 1, kOwnMapping = 2, kThreadArena = 4, kFlags = 7;
constexpr uint64_t kHeader = 16, kAlign = 16, kLeast = 32;
constexpr uint64_t kThreadHeap = 64ULL << 20;  // heaps of threads' arenas lie at multiples of this
constexpr uint64_t kTopOffset = 96;            // in an arena: behind its flags and the lists of small blocks

struct HeapInfo {
  uint64_t arena, previous, size, writable_size, page_size;
};

}  // namespace

template <class T>
bool Heap::read(uint64_t address, T& value) const {
  const Piece* piece = image_.piece_at(address);
  if (piece == nullptr || piece->end() - address < sizeof value) return false;
  std::memcpy(&value, piece->bytes.data() + (address - piece->start), sizeof value);
  return true;
}

// From chunk to chunk. The last one is the top, which nobody was given, and ends with the heap; `top` 0: whichever
// ends there.
bool Heap::walk(uint64_t first, uint64_t end, uint64_t top) {
  const size_t before = chunks_.size();
  uint64_t at = first;
  bool whole = false;
  while (at + kHeader <= end) {
    uint64_t size = 0;
    if (!read(at + 8, size)) break;
    const bool previous_used = (size & kPreviousInUse) != 0;
    const bool own = (size & kOwnMapping) != 0;
    size &= ~kFlags;
    if (own || size < kHeader || size % kAlign != 0 || size > end - at) break;
    if (!previous_used && chunks_.size() > before) chunks_.back().free = true;
    const uint64_t next = at + size;
    if (at == top || (top == 0 && next == end)) {
      whole = next == end;
      tops_.push_back(at);
      break;
    }
    if (size < kLeast) {
      // Two of these end a heap that was left for a next one.
      whole = top == UINT64_MAX && next + kHeader >= end;
      break;
    }
    // A chunk in use reaches into the first word of the next one.
    chunks_.push_back({at + kHeader, next + 8, false});
    at = next;
  }
  if (!whole) chunks_.resize(before);
  return whole;
}

void Heap::main_arena(const Mapping& heap) {
  uint64_t size = 0;
  uint64_t first = heap.start;
  // The program break may begin anywhere in a page.
  if (read(first + 8, size) && size == 0) return;
  // What is behind the top chunk's end and before the mapping's is less than a page.
  if (walk(first, heap.end, 0)) tracked_.push_back({heap.start, heap.end});
}

void Heap::thread_arena(uint64_t heap, uint64_t end) {
  HeapInfo info{};
  if (!read(heap, info) || info.arena == 0 || info.size > end - heap || info.size < kPage || info.size % kPage != 0)
    return;
  // The first heap of an arena holds the arena itself, which says where its top is.
  uint64_t first = 0, top = UINT64_MAX;
  const bool holds_arena = info.arena > heap && info.arena < heap + kPage;
  if (holds_arena) {
    // The state of an arena has grown with versions; the first chunk is where a walk adds up.
    if (!read(info.arena + kTopOffset, top)) return;
    const bool top_here = top >= heap && top < heap + info.size;
    for (uint64_t state = 2048; state <= 2560; state += kAlign) {
      first = (info.arena + state + kAlign - 1) & ~(kAlign - 1);
      uint64_t size = 0;
      if (!read(first + 8, size) || (size & kThreadArena) == 0 || (size & kPreviousInUse) == 0) continue;
      if (walk(first, heap + info.size, top_here ? top : UINT64_MAX)) {
        // With the arena itself: its lists lead to chunks' headers, which are the last words of the blocks before them.
        tracked_.push_back({heap, heap + info.size});
        arenas_.push_back(info.arena);
        return;
      }
    }
    return;
  }
  if (read(info.arena + kTopOffset, top) && !(top >= heap && top < heap + info.size)) top = UINT64_MAX;
  first = heap + ((sizeof(HeapInfo) + kAlign - 1) & ~(kAlign - 1));
  if (walk(first, heap + info.size, top)) tracked_.push_back({heap, heap + info.size});
}

// Large blocks, one after the other where the kernel made one mapping of them.
void Heap::own_mappings(const Mapping& mapping) {
  uint64_t at = mapping.start;
  while (at < mapping.end) {
    uint64_t words[2] = {};
    if (!read(at, words)) return;
    const uint64_t size = words[1] & ~kFlags;
    if (words[0] != 0 || (words[1] & kFlags) != kOwnMapping || size % kPage != 0 || size == 0 ||
        size > mapping.end - at)
      return;
    chunks_.push_back({at + kHeader, at + size, false});
    tracked_.push_back({at, at + size});
    at += size;
  }
}

Heap::Heap(const Image& image) : image_(image) {
  for (const Mapping& mapping : image.maps) {
    if (!mapping.readable || !mapping.writable || mapping.shared) continue;
    if (mapping.path == "[heap]") {
      main_arena(mapping);
    } else if (mapping.inode == 0 && mapping.path.empty()) {
      const size_t before = tracked_.size();
      // A merged mapping may hold heaps anywhere, each at a multiple of their size.
      for (uint64_t heap = (mapping.start + kThreadHeap - 1) & ~(kThreadHeap - 1); heap < mapping.end;
           heap += kThreadHeap)
        thread_arena(heap, std::min(mapping.end, heap + kThreadHeap));
      if (tracked_.size() == before) own_mappings(mapping);
    }
  }
  const auto ascending = [](const auto& a, const auto& b) { return a.start < b.start; };
  std::sort(chunks_.begin(), chunks_.end(), ascending);
  std::sort(tracked_.begin(), tracked_.end(), ascending);
  free_cached();
  for (const uint64_t arena : arenas_) free_fast(arena);
  for (const Piece& piece : image.pieces)
    if (find(piece.start) < 0 && range_at(image.stacks, piece.start) == nullptr) main_state(piece);
  std::sort(tracked_.begin(), tracked_.end(), ascending);
}

// The main arena is a variable of the library: where its top chunk is named, and a last remainder and 127 lists behind
// it lead to chunks or back to themselves.
void Heap::main_state(const Piece& piece) {
  constexpr size_t kEnds = 2 * 127;
  for (size_t at = kTopOffset; at + 8 * (2 + kEnds) <= piece.bytes.size(); at += 8) {
    uint64_t words[2 + kEnds];
    std::memcpy(words, piece.bytes.data() + at, 8);
    if (std::find(tops_.begin(), tops_.end(), words[0]) == tops_.end()) continue;
    std::memcpy(words, piece.bytes.data() + at, sizeof words);
    const Range self{piece.start + at, piece.start + at + sizeof words};
    const auto known = [&](uint64_t address) { return self.holds(address) || find(address + kHeader) >= 0; };
    if (!std::all_of(words + 2, words + 2 + kEnds, known)) continue;
    free_fast(self.start - kTopOffset);
    tracked_.push_back(self);
  }
}

Chunk* Heap::chunk_from(uint64_t start) {
  const std::ptrdiff_t index = find(start);
  if (index < 0 || chunks_[static_cast<size_t>(index)].start != start) return nullptr;
  return &chunks_[static_cast<size_t>(index)];
}

// A list of freed blocks of one size, each of which begins with the address of the next, since glibc 2.32 mixed with
// its own. Nothing is freed unless the whole list is as it must be. `headers`: the links lead to chunks' headers;
// `length` 0: until the end.
bool Heap::free_list(uint64_t first, size_t size, size_t length, bool headers) {
  constexpr size_t kLongest = 100'000;
  for (const bool mixed : {true, false}) {
    std::vector<Chunk*> list;
    uint64_t at = first;
    while (at != 0 && list.size() < (length != 0 ? length : kLongest)) {
      const uint64_t start = headers ? at + kHeader : at;
      Chunk* chunk = chunk_from(start);
      uint64_t next = 0;
      if (chunk == nullptr || chunk->end - chunk->start != size || !read(start, next)) break;
      list.push_back(chunk);
      at = mixed ? next ^ (start >> 12) : next;
    }
    if (at != 0 || list.empty() || (length != 0 && list.size() != length)) continue;
    for (Chunk* chunk : list) chunk->free = true;
    return true;
  }
  return false;
}

// A thread's cache of freed blocks is a block itself: how many there are of each of 64 sizes, and where each list
// begins. A block of the program's is not taken for one: every count would have to be the length of a list of blocks of
// just that size.
void Heap::free_cached() {
  constexpr size_t kSizes = 64;
  struct Cache {
    uint16_t counts[kSizes];
    uint64_t first[kSizes];
  };
  std::vector<uint64_t> caches;
  for (const Chunk& chunk : chunks_)
    if (chunk.end - chunk.start == sizeof(Cache) + 8) caches.push_back(chunk.start);
  for (const uint64_t start : caches) {
    Cache cache{};
    if (!read(start, cache)) continue;
    bool good = true, any = false;
    for (size_t i = 0; i < kSizes; ++i) {
      good = good && (cache.counts[i] == 0) == (cache.first[i] == 0);
      any = any || cache.counts[i] != 0;
    }
    if (!good || !any) continue;
    std::vector<Chunk> before = chunks_;
    for (size_t i = 0; i < kSizes && good; ++i)
      good = cache.counts[i] == 0 || free_list(cache.first[i], 24 + 16 * i, cache.counts[i], false);
    if (!good) chunks_ = std::move(before);
  }
}

// The ten lists of small blocks at the beginning of an arena.
void Heap::free_fast(uint64_t arena) {
  constexpr size_t kLists = 10;
  for (size_t i = 0; i < kLists; ++i) {
    uint64_t first = 0;
    if (read(arena + kTopOffset - 8 * (kLists - i), first) && first != 0) free_list(first, 24 + 16 * i, 0, true);
  }
}

std::ptrdiff_t Heap::find(uint64_t address) const {
  auto after = std::upper_bound(chunks_.begin(), chunks_.end(), address,
                                [](uint64_t value, const Chunk& chunk) { return value < chunk.start; });
  if (after == chunks_.begin()) return -1;
  --after;
  return address < after->end ? after - chunks_.begin() : -1;
}

}  // namespace fiberprof
