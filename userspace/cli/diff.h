// SPDX-License-Identifier: BSD-2-Clause
// `fiberprof diff`: what has changed between two dumps, as a gate for tests.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace fiberprof {

void add_diff(CLI::App& app, std::function<int()>& action);

}  // namespace fiberprof
