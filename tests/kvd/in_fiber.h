// SPDX-License-Identifier: BSD-2-Clause
// Runs a test's body as a fiber.
#pragma once

#include <functional>

#include "fiber/runtime.h"

inline void in_fiber(const std::function<void()>& body) { fiber::run({.processors = 2}, body); }
