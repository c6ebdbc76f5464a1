// SPDX-License-Identifier: BSD-2-Clause
// What looks wrong by age and count (deadlock/suspicious.h), as text and JSON, well apart from verdicts.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "deadlock/suspects.h"
#include "render/palette.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

struct SuspicionNames {
  std::function<const std::vector<Frame>&(uint32_t stack)> stack;  // innermost first
  std::function<const Frame&(uint64_t code)> site;                 // where fibers were spawned
};

// `state`: that of the look they are from.
std::string suspicious_text(const Suspicions& suspicions, const State& state, const SuspicionNames& names,
                            const Style& style, size_t columns);
nlohmann::ordered_json suspicious_json(const Suspicions& suspicions, const State& state, const SuspicionNames& names);

}  // namespace fiberprof
