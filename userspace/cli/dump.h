// SPDX-License-Identifier: BSD-2-Clause
// `fiberprof dump`: every fiber of a process or of a core file, with its stack and what it waits for.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace fiberprof {

void add_dump(CLI::App& app, std::function<int()>& action);

}  // namespace fiberprof
