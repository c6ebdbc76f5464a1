// SPDX-License-Identifier: BSD-2-Clause
// A help screen of `top`: keys and columns with what they mean.
#pragma once

#include <span>
#include <vector>

#include "render/top_layout.h"

namespace fiberprof {

struct HelpEntry {
  const char *left, *right;  // without a right side: a heading, or a blank line
};

// At most `rows` lines of at most `columns` columns.
std::vector<Line> help_lines(std::span<const HelpEntry> entries, size_t columns, size_t rows);

}  // namespace fiberprof
