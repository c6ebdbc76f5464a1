// SPDX-License-Identifier: BSD-2-Clause
#pragma once

#include <time.h>

#include <algorithm>
#include <cstdint>

namespace fiberprof {

// CLOCK_MONOTONIC, the clock of BPF programs and of the registry.
inline uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

// ns per call of `body`: the fastest of `rounds` batches, as a busy machine only ever adds.
template <class Body>
double fastest(int rounds, int batch, Body body) {
  double best = 1e18;
  for (int round = 0; round < rounds; ++round) {
    const uint64_t start = monotonic_ns();
    for (int i = 0; i < batch; ++i) body();
    best = std::min(best, static_cast<double>(monotonic_ns() - start) / batch);
  }
  return best;
}

}  // namespace fiberprof
