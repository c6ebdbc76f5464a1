// SPDX-License-Identifier: BSD-2-Clause
// `fiberprof record`: watch a process for a while, write what its fibers waited for.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace fiberprof {

void add_record(CLI::App& app, std::function<int()>& action);

}  // namespace fiberprof
