// SPDX-License-Identifier: BSD-2-Clause
// Stretches of addresses.
#pragma once

#include <cstdint>
#include <vector>

namespace fiberprof {

inline constexpr uint64_t kPage = 4096;
// Of a program's addresses, unless it asks for more; what is above them may be a tag.
#if defined(__aarch64__)
inline constexpr uint64_t kAddressBits = (uint64_t{1} << 48) - 1;
#else
inline constexpr uint64_t kAddressBits = (uint64_t{1} << 47) - 1;
#endif

struct Range {
  uint64_t start = 0, end = 0;
  bool holds(uint64_t address) const { return address >= start && address < end; }
};

// Ascending and apart from each other; empty ones are left out.
std::vector<Range> merged(std::vector<Range> ranges);

// `range` without `holes` (ascending, apart).
std::vector<Range> without(Range range, const std::vector<Range>& holes);

// The range of `ranges` (ascending, apart) that holds an address; null: none.
const Range* range_at(const std::vector<Range>& ranges, uint64_t address);

}  // namespace fiberprof
