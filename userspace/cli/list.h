// SPDX-License-Identifier: BSD-2-Clause
// fiberprof list: the processes on fibers that can be watched.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace fiberprof {

// Adds the subcommand; when it is the one given, `action` becomes the function that runs it and returns the exit code.
void add_list(CLI::App& app, std::function<int()>& action);

}  // namespace fiberprof
