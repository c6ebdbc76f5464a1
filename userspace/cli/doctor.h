// SPDX-License-Identifier: BSD-2-Clause
// `fiberprof doctor`: what this machine allows, what a probe costs here, and what to do about what is missing.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace fiberprof {

void add_doctor(CLI::App& app, std::function<int()>& action);

}  // namespace fiberprof
