// SPDX-License-Identifier: BSD-2-Clause
#include "render/suspicious_view.h"

#include <fiberprof/registry.h>

#include <map>
#include <nlohmann/json.hpp>

#include "render/frame_json.h"
#include "render/frame_text.h"
#include "session/names.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kFrames = 12;  // of a stack in text
constexpr size_t kOfKind = 10;  // findings in text

std::string counts(const std::vector<uint64_t>& seen) {
  std::string text;
  for (const uint64_t count : seen) text += (text.empty() ? "" : " → ") + std::to_string(count);
  return text;
}

std::string headline(const Suspicion& one, const Suspicions& all) {
  const bool single = one.count == 1;
  const std::string fibers = std::to_string(one.count) + (single ? " fiber" : " fibers");
  const std::string longer = " for longer than " + format_duration(all.older_ns);
  switch (one.kind) {
    case SuspicionKind::spins:
      return fibers + (single ? " spins" : " spin") + ": " + std::to_string(one.polls) + " polls moved nothing in " +
             format_duration(one.in_ns) + ", nor did any" + longer;
    case SuspicionKind::old_wait:
      return fibers + (single ? " waits (" : " wait (") + reason_name(one.reason) + ")" + longer;
    case SuspicionKind::ignores_cancel:
      return fibers + (single ? " waits (" : " wait (") + reason_name(one.reason) +
             ") without heeding a cancelled context on " + (single ? "its stack" : "their stacks") + " (" +
             std::to_string(one.checked) + " with that stack looked into)";
    case SuspicionKind::outlives_parent:
      return fibers + (single ? " has" : " have") + " waited" + longer + "; the fiber that spawned " +
             (single ? "it" : "them") + " has ended";
    case SuspicionKind::grows:
      return "more fibers of one spawn site at every look: " + counts(one.seen);
    case SuspicionKind::deadlines:
      return "more waits with a deadline (" + reason_name(one.reason) + ") at every look: " + counts(one.seen);
  }
  return "";
}

std::string example(const State& state, const Suspicion::Example& example) {
  const FiberInfo& info = state.fibers[example.fiber].info;
  return "fiber " + std::to_string(info.id) + (info.name.empty() ? "" : " \"" + sanitize(info.name) + "\"") + " " +
         format_duration(example.age_ns);
}

}  // namespace

std::string suspicious_text(const Suspicions& suspicions, const State& state, const SuspicionNames& names,
                            const Style& style, size_t columns) {
  std::string text = "\n" + style.bold("suspicious, by age and count: no proof") + "\n";
  if (suspicions.found.empty()) text += "  nothing\n";
  std::map<SuspicionKind, size_t> shown;
  for (const Suspicion& one : suspicions.found) {
    if (++shown[one.kind] > kOfKind) continue;
    text += "\n  " + headline(one, suspicions) + "\n    " + style.dim(one.count > 1 ? "oldest: " : "");
    for (size_t i = 0; i < one.examples.size(); ++i) text += (i == 0 ? "" : ", ") + example(state, one.examples[i]);
    text += "\n";
    if (one.site != 0) text += "    spawned at " + place_text(names.site(one.site)) + "\n";
    if (one.stack == 0) continue;
    std::vector<FrameText> frames = frame_texts(names.stack(one.stack));
    const size_t more = frames.size() > kFrames ? frames.size() - kFrames : 0;
    frames.resize(frames.size() - more);
    for (const std::string& line : stack_lines(frames, style, 6, columns)) text += line + "\n";
    if (more != 0) text += style.dim("      … " + std::to_string(more) + " more") + "\n";
  }
  for (const auto& [kind, count] : shown)
    if (count > kOfKind)
      text += "\n  … and " + std::to_string(count - kOfKind) + " more of: " + suspicion_text(kind) + "\n";
  return text;
}

Json suspicious_json(const Suspicions& suspicions, const State& state, const SuspicionNames& names) {
  Json json;
  json["older_ns"] = suspicions.older_ns;
  json["looks"] = suspicions.looks;
  json["found"] = Json::array();
  for (const Suspicion& suspicion : suspicions.found) {
    Json one;
    one["kind"] = suspicion_text(suspicion.kind);
    one["count"] = suspicion.count;
    one["oldest_ns"] = suspicion.oldest_ns;
    if (suspicion.checked != 0) one["looked_into"] = suspicion.checked;
    if (suspicion.in_ns != 0) one["polls"] = suspicion.polls, one["polls_in_ns"] = suspicion.in_ns;
    if (!suspicion.seen.empty()) one["seen"] = suspicion.seen;
    if (suspicion.reason != 0) one["reason"] = reason_name(suspicion.reason);
    if (suspicion.site != 0) one["spawned_at"] = frame_json(names.site(suspicion.site));
    one["examples"] = Json::array();
    for (const Suspicion::Example& example : suspicion.examples) {
      const FiberInfo& info = state.fibers[example.fiber].info;
      one["examples"].push_back({{"id", info.id}, {"name", sanitize(info.name)}, {"age_ns", example.age_ns}});
    }
    if (suspicion.stack != 0) {
      one["stack"] = Json::array();
      for (const Frame& frame : names.stack(suspicion.stack)) one["stack"].push_back(frame_json(frame));
    }
    json["found"].push_back(std::move(one));
  }
  return json;
}

}  // namespace fiberprof
