// SPDX-License-Identifier: BSD-2-Clause
// Verdicts about fibers that will never run again: as text for people, JSON for machines, a picture for Graphviz.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "deadlock/detect.h"
#include "render/palette.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

// What it takes to show one: the stack of a fiber, innermost first, and the place an address stands for.
struct DeadlockNames {
  std::string target;  // "process 12 (kvd)"; sanitized here
  std::function<std::vector<Frame>(const FiberInfo&)> stack;
  std::function<std::string(uint64_t code)> place;  // "Server::accept server.cpp:31"
};

std::string deadlock_text(const Detection& detection, const DeadlockNames& names, const Style& style, size_t columns);
// `suspicious`, if given, becomes the member of that name: see render/suspicious_view.h.
std::string deadlock_json(const Detection& detection, const DeadlockNames& names,
                          const nlohmann::ordered_json* suspicious = nullptr);
// A digraph: fibers as boxes, each with arrows to what it waits for, and from there to whoever holds it; causes are
// coloured.
std::string deadlock_dot(const Detection& detection, const DeadlockNames& names);

}  // namespace fiberprof
