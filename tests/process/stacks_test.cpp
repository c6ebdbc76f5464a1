// SPDX-License-Identifier: BSD-2-Clause
// Stacks read in batches, and the reads of several sizes below them.
#include "process/stacks.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "process/fixtures/hand_registry.h"

namespace fiberprof {
namespace {

constexpr size_t kPage = 4096;

// Two pages of which only the first may be read.
class HalfReadable {
 public:
  HalfReadable() {
    void* const memory = mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bytes_ = static_cast<char*>(memory);
    std::memset(bytes_, 'a', 2 * kPage);
    mprotect(bytes_ + kPage, kPage, PROT_NONE);
  }
  ~HalfReadable() { munmap(bytes_, 2 * kPage); }
  HalfReadable(const HalfReadable&) = delete;
  HalfReadable& operator=(const HalfReadable&) = delete;
  uint64_t at(size_t offset) const { return fixture::address(bytes_ + offset); }

 private:
  char* bytes_;
};

TEST(MemoryRanges, EachSaysWhetherItWasRead) {
  const auto memory = live_memory(static_cast<uint32_t>(getpid()));
  const HalfReadable half;
  // More than one system call takes; every third one faults at once, every fifth in its middle.
  constexpr size_t kRanges = 5000;
  std::vector<char> out(kRanges * 64, 'x');
  std::vector<MemoryRange> ranges;
  for (size_t i = 0; i < kRanges; ++i) {
    const uint64_t from = i % 3 == 0 ? half.at(kPage + i % 100) : i % 5 == 0 ? half.at(kPage - 3) : half.at(i % 1000);
    ranges.push_back({from, 8 + i % 56, out.data() + i * 64, false});
  }
  ASSERT_EQ(memory->read_ranges(ranges), ReadStatus::ok);
  for (size_t i = 0; i < kRanges; ++i) {
    const bool whole = i % 3 != 0 && i % 5 != 0;
    ASSERT_EQ(ranges[i].ok, whole) << i;
    if (!whole) continue;
    EXPECT_EQ(std::string(ranges[i].out, ranges[i].size), std::string(ranges[i].size, 'a')) << i;
    EXPECT_EQ(ranges[i].out[ranges[i].size], 'x') << "beyond its end, " << i;
  }
  EXPECT_EQ(memory->read_ranges({}), ReadStatus::ok);
}

class BatchedStacks : public testing::Test {
 protected:
  BatchedStacks() { fixture::fill(registry_, store_, kFibers, kFibers); }

  fiberprof_fiber& slot(size_t index) { return store_.slabs[0][index]; }

  // A stack of so many frames, `step` bytes apart; return addresses count up from 0x1000 * (index + 1).
  void give_stack(size_t index, size_t frames, size_t step) {
    auto& memory = stacks_.emplace_back(frames * step / 8 + 2);
    for (size_t i = 0; i < frames; ++i) {
      memory[i * step / 8] = i + 1 < frames ? fixture::address(&memory[(i + 1) * step / 8]) : 0;
      memory[i * step / 8 + 1] = 0x1000 * (index + 1) + i;
    }
    slot(index).stack_low = slot(index).sp = fixture::address(memory.data());
    slot(index).stack_high = fixture::address(memory.data() + memory.size());
  }

  std::vector<FiberInfo> fibers(RegistryView& view) {
    std::vector<FiberInfo> found;
    EXPECT_TRUE(view.fibers([&](const FiberInfo& fiber) { found.push_back(fiber); }, UINT64_MAX));
    return found;
  }

  static std::vector<uint64_t> expected(size_t index, size_t frames) {
    std::vector<uint64_t> addresses;
    for (size_t i = 0; i < frames; ++i) addresses.push_back(0x1000 * (index + 1) + i);
    return addresses;
  }

  static constexpr uint32_t kFibers = 40;
  fiberprof_registry registry_{};
  fixture::Store store_;
  std::vector<std::vector<uint64_t>> stacks_;
};

TEST_F(BatchedStacks, ABatchGivesWhatEachByItselfGives) {
  // Within the first read, beyond it, beyond a page, and pages apart.
  const std::pair<size_t, size_t> kShapes[] = {{1, 16}, {5, 64}, {12, 128}, {60, 512}, {9, 20'000}, {130, 32}};
  for (size_t i = 0; i < kFibers; ++i) {
    const auto [frames, step] = kShapes[i % std::size(kShapes)];
    give_stack(i, frames, step);
  }
  const auto view = RegistryView::open(static_cast<uint32_t>(getpid()), fixture::address(&registry_));
  ASSERT_TRUE(view) << view.error().message();
  const auto all = fibers(**view);
  ASSERT_EQ(all.size(), kFibers);
  StackReader reader(**view);
  size_t visited = 0;
  reader.read(all, 128, [&](size_t i, std::span<const uint64_t> frames) {
    EXPECT_EQ(i, visited++);
    const std::vector<uint64_t> batch(frames.begin(), frames.end());
    EXPECT_EQ(batch, expected(i, std::min<size_t>(128, kShapes[i % std::size(kShapes)].first))) << i;
    EXPECT_EQ(batch, (*view)->stack(all[i])) << i;
  });
  EXPECT_EQ(visited, kFibers);
  EXPECT_EQ(reader.unfinished(), 0u);
}

TEST_F(BatchedStacks, WhatIsNoStackIsEmptyAndDisturbsNoOther) {
  for (size_t i = 0; i < kFibers; ++i) give_stack(i, 6, 64);
  slot(1).sp = 0;
  slot(2).sp += 4;                          // not aligned
  slot(3).sp = slot(3).stack_high - 8;      // no room for a frame record
  slot(4).stack_low = slot(4).stack_high;   // no stack at all
  slot(5).stack_low = 16, slot(5).sp = 64;  // nothing mapped there
  slot(6).stack_high = UINT64_MAX;
  slot(7).state = FIBERPROF_FIBER_RUNNING;
  const auto view = RegistryView::open(static_cast<uint32_t>(getpid()), fixture::address(&registry_));
  ASSERT_TRUE(view) << view.error().message();
  const auto all = fibers(**view);
  ASSERT_EQ(all.size(), kFibers);
  // These have run since they were described.
  ++slot(8).switches;
  slot(9).sp += 64;
  slot(10).id += 1000;
  slot(11).state = FIBERPROF_FIBER_RUNNABLE;
  StackReader(**view).read(all, 128, [&](size_t i, std::span<const uint64_t> frames) {
    const std::vector<uint64_t> batch(frames.begin(), frames.end());
    EXPECT_EQ(batch, i >= 1 && i <= 11 ? std::vector<uint64_t>() : expected(i, 6)) << i;
  });
}

}  // namespace
}  // namespace fiberprof
