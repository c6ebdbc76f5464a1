// SPDX-License-Identifier: BSD-2-Clause
// Which of a recording's counted causes (Profile::losses) mean that something is missing.
#pragma once

#include <string_view>

namespace fiberprof {

// The others are remarks about events that were recorded.
constexpr bool is_lost(std::string_view cause) {
  return cause != "stack truncated" && cause != "inner end of a stack not kept" &&
         cause != "switch or wake-up of a worker not seen" && cause != "began before the recording";
}

}  // namespace fiberprof
