// SPDX-License-Identifier: BSD-2-Clause
// What a process had in memory while it stood still, copied so that it may go on, and what holds pointers to it
// outside of that memory.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "deadlock/freeze.h"
#include "deadlock/ranges.h"
#include "deadlock/storage.h"
#include "process/core_file.h"
#include "process/maps.h"
#include "process/registry_view.h"
#include "support/error.h"

namespace fiberprof {

// A stretch of memory that was in use; what is between two of them was not, or was left out on purpose.
struct Piece {
  uint64_t start = 0;
  std::span<const char> bytes;  // in Image::storage
  uint64_t end() const { return start + bytes.size(); }
};

struct Image {
  std::vector<Piece> pieces;  // ascending, apart from each other
  std::vector<Storage> storage;
  std::vector<Mapping> maps;
  std::vector<StoppedThread> threads;
  std::map<uint32_t, uint32_t> tids;  // from how the process sees a thread's id to StoppedThread::tid
  std::vector<uint64_t> words;        // what the kernel keeps for the program: data of epoll entries
  std::vector<Range> stacks;          // of fibers, used or not, ascending: only the used part is in `pieces`
  std::vector<Range> slabs;           // the registry's own records of fibers, ascending
  uint64_t copied = 0, stopped_ns = 0;

  // The bytes of [start, end) that were copied, piece by piece.
  template <class Visit>
  void each(uint64_t start, uint64_t end, Visit visit) const;
  const Piece* piece_at(uint64_t address) const;  // that holds it; null: none
};

// Whether a search that begins with any word of the program may be relied on where it has such memory. Errors: it may
// not, and why.
Result<void> provable(const Mapping& mapping);

// Stops the process, copies what it needs, lets it go on. Errors: as Freeze::stop; memory that cannot be read; more of
// it than `limit` bytes; an io_uring, whose memory the kernel shares.
Result<Image> take_image(uint32_t pid, RegistryView& live, uint64_t limit);

// The same of a core file, whose process will not go on: what could have happened next is what a proof is about.
// Errors: memory that the core lacks.
Result<Image> core_image(const CoreFile& core, RegistryView& view, uint64_t limit);

// Reads the image; what is not in it, since it is never written, from `live`.
std::unique_ptr<TargetMemory> image_memory(const Image& image, TargetMemory& live);

template <class Visit>
void Image::each(uint64_t start, uint64_t end, Visit visit) const {
  auto piece = std::upper_bound(pieces.begin(), pieces.end(), start,
                                [](uint64_t address, const Piece& one) { return address < one.end(); });
  for (; piece != pieces.end() && piece->start < end; ++piece) {
    const uint64_t from = std::max(start, piece->start), to = std::min(end, piece->end());
    if (from < to) visit(from, std::span(piece->bytes).subspan(from - piece->start, to - from));
  }
}

}  // namespace fiberprof
