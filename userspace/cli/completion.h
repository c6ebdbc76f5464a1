// SPDX-License-Identifier: BSD-2-Clause
// `fiberprof completion SHELL`: a script that completes commands and options, made from the commands themselves.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace fiberprof {

enum class Shell { bash, zsh, fish };

// Add it last: it completes the commands that `app` has when it runs.
void add_completion(CLI::App& app, std::function<int()>& action);

std::string completion_script(const CLI::App& app, Shell shell);

}  // namespace fiberprof
