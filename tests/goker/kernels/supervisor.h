// SPDX-License-Identifier: BSD-2-Clause
// The live rest of the program: starts a kernel, and knows it only by what the process's own registry says.
#pragma once

#include "goker/kernels/kernel.h"

namespace goker {

// All of these run on the program's main fiber and return the program's exit status.

// Prints "ready" when exactly the expected fibers wait for ever, and goes on ticking until stdin ends.
int show_bug(const Kernel& kernel);
// Without forcing: also "passed" when the bug did not strike, or what happened else.
int try_bug(const Kernel& kernel);
// The repaired one, again and again; prints "done".
int run_fixed(const Kernel& kernel, long rounds);

}  // namespace goker
