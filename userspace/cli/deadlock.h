// SPDX-License-Identifier: BSD-2-Clause
// fiberprof deadlock: who will never run again, and why.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace fiberprof {

void add_deadlock(CLI::App& app, std::function<int()>& action);

}  // namespace fiberprof
