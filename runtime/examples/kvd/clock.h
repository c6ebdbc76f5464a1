// SPDX-License-Identifier: BSD-2-Clause
// Wall-clock time, in which expiry is kept so that it means the same after a restart.
#pragma once

#include <chrono>
#include <cstdint>

namespace kvd {

using Milliseconds = std::int64_t;  // since 1970
inline constexpr Milliseconds kNever = 0;

inline Milliseconds wall_clock_ms() {
  using namespace std::chrono;
  return duration_cast<milliseconds>(system_clock::now().time_since_epoch()).count();
}

}  // namespace kvd
