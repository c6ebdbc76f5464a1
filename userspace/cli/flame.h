// SPDX-License-Identifier: BSD-2-Clause
// `fiberprof flame`: a recording, or a process watched for a while, as a flame graph.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace fiberprof {

void add_flame(CLI::App& app, std::function<int()>& action);

}  // namespace fiberprof
