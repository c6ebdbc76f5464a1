// SPDX-License-Identifier: BSD-2-Clause
// A flame graph as one self-contained SVG: a picture anywhere, and in a browser zoomable, searchable and usable by
// keyboard. No part of it is loaded from elsewhere.
#pragma once

#include <string>

#include "render/flame_tree.h"

namespace fiberprof {

struct FlameLook {
  bool inverted = false;  // icicle: the root at the top
  unsigned width = 1200;  // of the static picture; a browser fits it to its window
};

std::string flame_svg(const Profile& profile, const FlameTree& tree, FlameKind kind, const FlameLook& look);

}  // namespace fiberprof
