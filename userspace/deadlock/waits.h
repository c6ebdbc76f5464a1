// SPDX-License-Identifier: BSD-2-Clause
// What one fiber waits for, as the process has it.
#pragma once

#include "deadlock/state.h"
#include "process/objects.h"

namespace fiberprof {

constexpr int kDeepestContext = 10'000;  // of contexts above one another: deeper ones are not looked at

// Fills in FiberState::alternatives.
void read_alternatives(RegistryView& view, FiberState& fiber);
// Whether its wait, if it is in one, may end by nothing but what this reader follows.
bool in_question(const FiberState& fiber);
// Adds the objects that a fiber waits for, as seen the `which`th time.
void read_objects(ObjectReader& reader, const FiberState& fiber, State& state, int which);

}  // namespace fiberprof
