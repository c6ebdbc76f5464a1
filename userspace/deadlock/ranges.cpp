// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/ranges.h"

#include <algorithm>

namespace fiberprof {

std::vector<Range> merged(std::vector<Range> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const Range& a, const Range& b) { return a.start < b.start; });
  std::vector<Range> result;
  for (const Range& range : ranges) {
    if (range.start >= range.end) continue;
    if (!result.empty() && range.start <= result.back().end)
      result.back().end = std::max(result.back().end, range.end);
    else
      result.push_back(range);
  }
  return result;
}

std::vector<Range> without(Range range, const std::vector<Range>& holes) {
  std::vector<Range> rest;
  for (const Range& hole : holes) {
    if (hole.end <= range.start) continue;
    if (hole.start >= range.end) break;
    if (hole.start > range.start) rest.push_back({range.start, hole.start});
    range.start = hole.end;
  }
  if (range.start < range.end) rest.push_back(range);
  return rest;
}

const Range* range_at(const std::vector<Range>& ranges, uint64_t address) {
  auto after = std::upper_bound(ranges.begin(), ranges.end(), address,
                                [](uint64_t value, const Range& range) { return value < range.start; });
  return after == ranges.begin() || !(--after)->holds(address) ? nullptr : &*after;
}

}  // namespace fiberprof
