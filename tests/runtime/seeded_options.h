// SPDX-License-Identifier: BSD-2-Clause
// For tests of runs that a seed determines.
#pragma once

#include <fiber/runtime.h>

#include <cstdint>

inline fiber::Options seeded(std::uint64_t seed) {
  fiber::Options options;
  options.seed = seed;
  return options;
}
