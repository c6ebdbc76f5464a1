// SPDX-License-Identifier: BSD-2-Clause
// Durations as people write and read them. Everywhere inside the tool a duration is a number of nanoseconds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "support/error.h"

namespace fiberprof {

// "10us", "1.5s", "2m", "1h30m" into nanoseconds. Units: ns us (or µs) ms s m h d. A unit is required, except for 0.
// `bare_unit_ns`: what a number without a unit counts, for options like `-i SEC`; 0: it is refused.
// Errors (ExitCode::usage): no number, no or unknown unit, more than 2^64 ns.
Result<uint64_t> parse_duration(std::string_view text, uint64_t bare_unit_ns = 0);

// For people, at most 6 columns and 3 significant digits: "0", "87ns", "1.23ms", "12.3s", "4m05s", "3h07m", "12d03h".
std::string format_duration(uint64_t ns);

}  // namespace fiberprof
