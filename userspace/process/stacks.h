// SPDX-License-Identifier: BSD-2-Clause
// The stacks of many fibers at once: a million of them in a few thousand system calls.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "process/registry_view.h"

namespace fiberprof {

class StackReader {
 public:
  // `view` must outlive it.
  explicit StackReader(RegistryView& view) : view_(view) {}

  // Calls visit(i, frames) for each of the fibers, in order: return addresses as of RegistryView::stack(), empty when
  // the fiber is on its processor or ran meanwhile. Errors: none; what cannot be read has no stack.
  void read(std::span<const FiberInfo> fibers, size_t max_frames,
            const std::function<void(size_t, std::span<const uint64_t>)>& visit);

  // Stacks that were left unfinished, because very many before them were deep: a process must not keep us for hours.
  uint64_t unfinished() const { return unfinished_; }

 private:
  void walk(const FiberInfo& fiber, const MemoryRange& first, size_t max_frames, std::vector<uint64_t>& frames);
  void read_slots(std::span<const FiberInfo> fibers);

  RegistryView& view_;
  uint64_t more_reads_ = 0, unfinished_ = 0;
  std::vector<char> bytes_, slots_;
  std::vector<MemoryRange> ranges_, slot_ranges_;
  std::vector<uint64_t> frames_;
  std::vector<size_t> ends_;  // of each fiber's frames
};

}  // namespace fiberprof
