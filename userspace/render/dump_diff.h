// SPDX-License-Identifier: BSD-2-Clause
// Two dumps compared, as text for people or JSON for programs.
#pragma once

#include <string>

#include "dump/diff.h"
#include "render/palette.h"

namespace fiberprof {

// `rows`: groups shown at most; 0: all.
std::string diff_text(const DumpDiff& diff, const DiffLimits& limits, size_t rows, const Style& style, size_t columns);
// One object and a line end: "changed" groups with "base" and "new" counts, "over" the limit or not.
std::string diff_json(const DumpDiff& diff, const DiffLimits& limits, size_t rows);

}  // namespace fiberprof
