// SPDX-License-Identifier: BSD-2-Clause
// A histogram kept small says what all its buckets would.
#include "session/histogram.h"

#include <gtest/gtest.h>

#include <vector>

namespace fiberprof {
namespace {

void expect_same(const DurationHistogram& small, const Histogram& all) {
  uint64_t sum = 0;
  size_t end = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    EXPECT_EQ(small[i], all[i]) << i;
    sum += all[i];
    if (all[i] != 0) end = i + 1;
  }
  EXPECT_EQ(small.sum(), sum);
  EXPECT_EQ(small.end(), end);
}

TEST(DurationHistogram, SaysWhatAllBucketsWould) {
  const Histogram none{};
  expect_same(DurationHistogram(), none);
  expect_same(none, none);
  // Every range of buckets, short ones and long ones, with holes in them.
  for (size_t first = 0; first < kHistogramBuckets; ++first)
    for (size_t last = first; last < kHistogramBuckets; ++last) {
      Histogram all{};
      for (size_t i = first; i <= last; i += 2) all[i] = 1000 + i;
      all[last] = 7;
      expect_same(all, all);
    }
}

TEST(DurationHistogram, CopiesStayAsTheyWere) {
  Histogram wide{}, narrow{};
  for (size_t i = 3; i < 20; ++i) wide[i] = i;
  narrow[43] = 1;
  DurationHistogram a = wide;
  const DurationHistogram copy = a;
  a = narrow;
  expect_same(a, narrow);
  expect_same(copy, wide);
}

}  // namespace
}  // namespace fiberprof
