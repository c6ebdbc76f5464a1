// SPDX-License-Identifier: BSD-2-Clause
// `fiberprof top`: what the fibers of a running process wait for, live.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace fiberprof {

void add_top(CLI::App& app, std::function<int()>& action);

}  // namespace fiberprof
