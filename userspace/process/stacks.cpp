// SPDX-License-Identifier: BSD-2-Clause
#include "process/stacks.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <cstring>

namespace fiberprof {
namespace {

constexpr uint64_t kMaxStack = 1ULL << 30;  // deepest stack that is believed
// What is read of each stack at first: most waits are less deep.
constexpr size_t kFirst = 768;
constexpr size_t kMore = 4096;
constexpr uint64_t kMaxMoreReads = 4'000'000;  // of all stacks: seconds

bool can_walk(const FiberInfo& fiber) {
  return fiber.sp != 0 && fiber.stack_low < fiber.stack_high && fiber.stack_high - fiber.stack_low <= kMaxStack &&
         fiber.sp >= fiber.stack_low && fiber.sp < fiber.stack_high && fiber.stack_high - fiber.sp >= 16 &&
         fiber.sp % 8 == 0;
}

}  // namespace

void StackReader::read(std::span<const FiberInfo> fibers, size_t max_frames,
                       const std::function<void(size_t, std::span<const uint64_t>)>& visit) {
  bytes_.resize(fibers.size() * kFirst);
  ranges_.clear();
  for (size_t i = 0; i < fibers.size(); ++i)
    if (can_walk(fibers[i]))
      ranges_.push_back({fibers[i].sp,
                         static_cast<size_t>(std::min<uint64_t>(kFirst, fibers[i].stack_high - fibers[i].sp)),
                         bytes_.data() + i * kFirst, false});
  (void)view_.memory().read_ranges(ranges_);  // when the process is gone, nothing was read
  frames_.clear();
  ends_.clear();
  auto range = ranges_.begin();
  for (size_t i = 0; i < fibers.size(); ++i) {
    if (range != ranges_.end() && range->out == bytes_.data() + i * kFirst) {
      if (range->ok) walk(fibers[i], *range, max_frames, frames_);
      ++range;
    }
    ends_.push_back(frames_.size());
  }
  read_slots(fibers);
  const RegistryLayout& layout = view_.layout();
  const size_t slot_size = layout.head.fiber_size;
  auto slots = slot_ranges_.begin();
  size_t begin = 0;
  for (size_t i = 0; i < fibers.size(); ++i) {
    const char* const slot = slots_.data() + i * slot_size;
    if (slot == slots->out + slots->size) ++slots;
    const auto number = [&](fiberprof_field_index field) { return layout.number(slot, field); };
    // Only if it has not run meanwhile is this the stack of the wait described by the fiber.
    const bool same = slots->ok && number(FIBERPROF_FIELD_fiber_id) == fibers[i].id &&
                      number(FIBERPROF_FIELD_fiber_switches) == fibers[i].switches &&
                      number(FIBERPROF_FIELD_fiber_sp) == fibers[i].sp &&
                      number(FIBERPROF_FIELD_fiber_state) == fibers[i].state;
    visit(i, std::span<const uint64_t>(frames_).subspan(begin, same ? ends_[i] - begin : 0));
    begin = ends_[i];
  }
}

void StackReader::walk(const FiberInfo& fiber, const MemoryRange& first, size_t max_frames,
                       std::vector<uint64_t>& frames) {
  char more[kMore];
  const char* block = first.out;
  uint64_t block_start = first.address, block_size = first.size;
  const uint64_t high = fiber.stack_high;
  size_t count = 0;
  for (uint64_t frame = fiber.sp; count < max_frames; ++count) {
    if (frame < block_start || frame + 16 > block_start + block_size) {
      if (++more_reads_ > kMaxMoreReads) {
        ++unfinished_;
        return;
      }
      block_start = frame;
      block_size = std::min<uint64_t>(kMore, high - frame);
      block = more;
      if (view_.memory().read(block_start, {more, block_size}) != ReadStatus::ok) return;
    }
    uint64_t record[2];  // caller's frame pointer, return address
    std::memcpy(record, block + (frame - block_start), sizeof record);
#if defined(__aarch64__)
    record[1] &= (uint64_t{1} << 48) - 1;  // without the pointer authentication code
#endif
    if (record[1] == 0) return;
    frames.push_back(record[1]);
    if (record[0] <= frame || record[0] % 8 != 0 || record[0] >= high || high - record[0] < 16) return;
    frame = record[0];
  }
}

// All slots, those that lie one behind the other in one read.
void StackReader::read_slots(std::span<const FiberInfo> fibers) {
  const size_t slot_size = view_.layout().head.fiber_size;
  slots_.resize(fibers.size() * slot_size);
  slot_ranges_.clear();
  for (size_t i = 0; i < fibers.size(); ++i) {
    if (i != 0 && fibers[i].slot == fibers[i - 1].slot + slot_size) {
      slot_ranges_.back().size += slot_size;
      continue;
    }
    slot_ranges_.push_back({fibers[i].slot, slot_size, slots_.data() + i * slot_size, false});
  }
  (void)view_.memory().read_ranges(slot_ranges_);
}

}  // namespace fiberprof
