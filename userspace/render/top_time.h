// SPDX-License-Identifier: BSD-2-Clause
// The account of the fibers' time as lines of `top`: of how many fibers it is the time, and what they did with it.
#pragma once

#include <vector>

#include "render/top_layout.h"

namespace fiberprof {

// A heading with the shares of all, and at most `rows` rows by spawned function. Not cut to a width.
std::vector<Line> time_lines(const TopModel& model, size_t rows);

}  // namespace fiberprof
