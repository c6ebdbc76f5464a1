// SPDX-License-Identifier: BSD-2-Clause
#include "cli/suspicious.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/top_loop.h"
#include "deadlock/collect.h"
#include "symbol/runtime_names.h"

namespace fiberprof {
namespace {

CodeKind code_kind(const std::vector<Frame>& frames) {
  const auto any = [&](auto is) {
    return std::ranges::any_of(frames, [&](const Frame& frame) { return is(frame.function); });
  };
  if (any(moves_values)) return CodeKind::moves;
  if (any(is_yield)) return CodeKind::yields;
  return std::ranges::any_of(frames, is_program_frame) ? CodeKind::program : CodeKind::library;
}

}  // namespace

SuspicionReport::SuspicionReport(DumpSource& source, bool all_frames, uint64_t older_ns)
    : source_(source),
      looks_(*source.symbols, all_frames),
      suspects_(
          *source.view, source.core ? 0 : source.process.pid, older_ns,
          [this](std::span<const uint64_t> frames) { return looks_.number(frames); },
          [&source](uint64_t code) { return code_kind(source.symbols->resolve(code, true)); }) {
  names_.stack = [this](uint32_t stack) -> const std::vector<Frame>& { return looks_.at(stack); };
  names_.site = [this](uint64_t code) -> const Frame& { return own_frame(source_.symbols->resolve(code, true)); };
}

Result<void> SuspicionReport::look_ahead(uint64_t duration_ns) {
  Signals signals;
  Beat beat(duration_ns / (Growth::kLooks - 1), 0);
  for (size_t i = 0; i + 1 < Growth::kLooks; ++i) {
    source_.symbols->refresh();
    const auto state = collect_live(*source_.view, true);
    if (!state) return tl::unexpected(state.error());
    suspects_.glance(*state, now_ns(*state));
    if (sleep_until(beat.next(), signals, false, {}) == Woke::signal && signals.read()) break;
  }
  return {};
}

void SuspicionReport::look(const Detection& detection) {
  source_.symbols->refresh();
  suspicions_ = suspects_.look(detection.state, now_ns(detection.state), detection.verdict.dead);
}

bool SuspicionReport::leave_new() {
  std::erase_if(suspicions_.found, [&](const Suspicion& one) {
    return !shown_.insert({one.kind, one.stack, one.reason, one.site}).second;
  });
  return !suspicions_.found.empty();
}

std::string SuspicionReport::text(const Detection& detection, const Style& style, size_t columns) const {
  return suspicious_text(suspicions_, detection.state, names_, style, columns);
}

nlohmann::ordered_json SuspicionReport::json(const Detection& detection) const {
  return suspicious_json(suspicions_, detection.state, names_);
}

}  // namespace fiberprof
