// SPDX-License-Identifier: BSD-2-Clause
#include "session/delays.h"

#include <cmath>

namespace fiberprof {
namespace {

double start_of(size_t bucket) {
  if (bucket < 4) return static_cast<double>(bucket);
  return std::ldexp(static_cast<double>(4 + bucket % 4), static_cast<int>(bucket / 4) - 2);
}

// The value that `share` of all are below, as if those of a bucket lay evenly in it.
uint64_t at(const DelayHistogram& histogram, uint64_t count, double share) {
  double left = share * static_cast<double>(count);
  for (size_t i = 0; i < histogram.size(); ++i) {
    const auto here = static_cast<double>(histogram[i]);
    if (left < here) {
      const double start = start_of(i), end = i < 4 ? start + 1 : start_of(i + 1);
      return static_cast<uint64_t>(start + (end - start) * left / here);
    }
    left -= here;
  }
  return 0;
}

}  // namespace

DelayPercentiles percentiles(const DelayHistogram& histogram) {
  DelayPercentiles result;
  for (const uint64_t count : histogram) result.count += count;
  if (result.count == 0) return result;
  result.p50_ns = at(histogram, result.count, 0.5);
  result.p99_ns = at(histogram, result.count, 0.99);
  result.p999_ns = at(histogram, result.count, 0.999);
  return result;
}

DelayHistogram difference(const DelayHistogram& now, const DelayHistogram& before) {
  DelayHistogram result{};
  for (size_t i = 0; i < now.size(); ++i) result[i] = now[i] - (before[i] < now[i] ? before[i] : now[i]);
  return result;
}

}  // namespace fiberprof
