// SPDX-License-Identifier: BSD-2-Clause
// How much a test may ask for in a sanitizer build.
#pragma once

#include "context/sanitizer.h"

// ThreadSanitizer counts a fiber as a thread and ends at 8,128 of them.
constexpr int fibers_at_once(int wanted) { return FIBER_TSAN && wanted > 4'000 ? 4'000 : wanted; }

// How often a test may do what takes a switch of fibers, or a process of its own: both cost ThreadSanitizer ten times
// as much.
constexpr int rounds(int wanted) { return FIBER_TSAN ? wanted / 10 : wanted; }
