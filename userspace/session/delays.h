// SPDX-License-Identifier: BSD-2-Clause
// Percentiles of how long fibers were queued.
#pragma once

#include "session/snapshot.h"

namespace fiberprof {

struct DelayPercentiles {
  uint64_t count = 0;
  uint64_t p50_ns = 0, p99_ns = 0, p999_ns = 0;  // at most 12 % off: a bucket is a quarter of a power of two
};
DelayPercentiles percentiles(const DelayHistogram& histogram);
// Bucket by bucket; what another read has counted already is left out.
DelayHistogram difference(const DelayHistogram& now, const DelayHistogram& before);

}  // namespace fiberprof
