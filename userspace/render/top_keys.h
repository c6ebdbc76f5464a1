// SPDX-License-Identifier: BSD-2-Clause
// What a key does to the view of `top`. No terminal is needed to test it.
#pragma once

#include "render/top_layout.h"
#include "render/top_screen.h"

namespace fiberprof {

struct TopState {
  TopView view;
  bool since_start = false;
  bool help = false;
};

enum class TopAction : uint8_t {
  none,
  rebuild,  // grouping or interval changed: build the model again
  reset,    // start counting anew
  quit,
};

// Applies a key; `model` is the one on the screen, `rows` its height.
TopAction apply_key(TopState& state, const KeyPress& press, const TopModel& model, size_t rows);

}  // namespace fiberprof
