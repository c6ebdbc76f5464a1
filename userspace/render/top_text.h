// SPDX-License-Identifier: BSD-2-Clause
// Lines of a layout as text for pipes and terminals without a screen.
#pragma once

#include <string>
#include <vector>

#include "render/palette.h"
#include "render/top_layout.h"

namespace fiberprof {

std::string top_text(const std::vector<Line>& lines, const Style& style);

}  // namespace fiberprof
