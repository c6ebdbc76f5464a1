// SPDX-License-Identifier: BSD-2-Clause
// `fiberprof deadlock --suspicious`: what is said beside the verdicts.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <set>
#include <string>
#include <tuple>

#include "deadlock/detect.h"
#include "deadlock/suspects.h"
#include "dump/source.h"
#include "dump/stack_looks.h"
#include "render/palette.h"
#include "render/suspicious_view.h"

namespace fiberprof {

class SuspicionReport {
 public:
  // `source` must outlive it.
  SuspicionReport(DumpSource& source, bool all_frames, uint64_t older_ns);

  // The looks before the last, so far apart that all take so long: then the last one can tell what grows. Ends early
  // when the user wants it to. Errors: the process ended.
  Result<void> look_ahead(uint64_t duration_ns);
  // `detection` is what is reported on until the next one.
  void look(const Detection& detection);
  // Takes away what was left by an earlier call. False: nothing is left.
  bool leave_new();
  std::string text(const Detection& detection, const Style& style, size_t columns) const;
  nlohmann::ordered_json json(const Detection& detection) const;

 private:
  uint64_t now_ns(const State& state) const { return source_.core ? source_.now_ns : state.now_ns; }

  DumpSource& source_;
  StackLooks looks_;
  Suspects suspects_;
  SuspicionNames names_;
  Suspicions suspicions_;
  std::set<std::tuple<SuspicionKind, uint32_t, uint8_t, uint64_t>> shown_;
};

}  // namespace fiberprof
