// SPDX-License-Identifier: BSD-2-Clause
// Numbers of the live views as few characters.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fiberprof {

// An amount within the interval as an amount per second.
uint64_t per_second(uint64_t amount, uint64_t interval_ns);
// The same as text, small ones with a decimal.
std::string rate(uint64_t count, uint64_t interval_ns);
// A queue's depth.
std::string depth(double value);
// In full below ten thousand.
std::string number(uint64_t value);
// "3s ago", "250ms ago".
std::string ago(uint64_t ns);
// The last minute's queue depths, the newest last; several in one column when there are more than columns.
std::string history_bar(const std::vector<double>& history, size_t columns);

}  // namespace fiberprof
