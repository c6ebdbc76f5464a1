// SPDX-License-Identifier: BSD-2-Clause
// `fiberprof report`: a recording as tables.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace fiberprof {

void add_report(CLI::App& app, std::function<int()>& action);

}  // namespace fiberprof
