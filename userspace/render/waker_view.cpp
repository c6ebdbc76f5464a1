// SPDX-License-Identifier: BSD-2-Clause
#include "render/waker_view.h"

#include <algorithm>

#include "render/aggregate.h"
#include "render/stack_view.h"
#include "support/text.h"

namespace fiberprof {
namespace {

// Frames of a step to show. What ends waits by itself, a timer or a socket, does so in the runtime's own code, which
// says nothing.
std::vector<uint32_t> frames_of(const Profile& profile, const Cause& cause, bool all_frames) {
  std::vector<uint32_t> frames = shown_frames(profile, cause.frames, all_frames);
  const bool own = std::all_of(frames.begin(), frames.end(), [&](uint32_t index) {
    const ProfileFrame& frame = profile.frames[index];
    return is_library(frame.function, frame.binary, frame.runtime);
  });
  if (cause.kind == CauseKind::woken && !cause.text.empty() && own && !all_frames) frames.clear();
  return frames;
}

std::string culprit_of(const Profile& profile, const Cause& cause) {
  const std::vector<uint32_t> frames = frames_of(profile, cause, false);
  if (frames.empty()) return "";
  return profile
      .frames[frames[culprit(frames.size(),
                             [&](size_t i) {
                               const ProfileFrame& frame = profile.frames[frames[i]];
                               return is_library(frame.function, frame.binary, frame.runtime);
                             })]]
      .function;
}

std::string waker_name(const Profile& profile, const Cause& cause) {
  if (!cause.text.empty()) return cause.text;
  const std::string name = culprit_of(profile, cause);
  return name.empty() ? "fiber" : name;
}

std::string article(const std::string& waker) {
  if (waker == "timer") return "a timer";
  return waker == "network" || waker == "scheduler" ? "the " + waker : waker;
}

std::string separator(const Cause& cause) {
  switch (cause.kind) {
    case CauseKind::woken:
      return cause.text.empty() ? "woken by" : "woken by " + article(cause.text);
    case CauseKind::waited:
      return "which waited";
    case CauseKind::queued:
      return "which was runnable";
    case CauseKind::held:
      return "which the kernel held";
    case CauseKind::cut:
      return cause.text == "cycle" ? "and so on, in a cycle" : "and so on";
  }
  return "";
}

}  // namespace

const Chain* chain_of(const Profile& profile, const Sample& sample) {
  return sample.chain == 0 || sample.chain > profile.chains.size() || profile.chains[sample.chain - 1].empty()
             ? nullptr
             : &profile.chains[sample.chain - 1];
}

std::string waker_name(const Profile& profile, const Sample& sample) {
  const Chain* chain = chain_of(profile, sample);
  if (chain != nullptr) return waker_name(profile, chain->front());
  return sample.kind == SampleKind::open ? "(not ended)" : "(not known)";
}

std::string cause_line(const Profile& profile, const Chain& chain) {
  std::string line;
  for (size_t i = 1; i < chain.size(); ++i) {
    const Cause& cause = chain[i];
    std::string part;
    const std::string where = display_name(culprit_of(profile, cause));
    switch (cause.kind) {
      case CauseKind::woken:
        part = ", woken by " + (cause.text.empty() ? display_name(waker_name(profile, cause)) : article(cause.text));
        break;
      case CauseKind::waited:
        part = "which waited for " + cause.text;
        break;
      case CauseKind::queued:
        part = "which waited for a processor";
        break;
      case CauseKind::held:
        part = "which the kernel held: " + cause.text;
        break;
      case CauseKind::cut:
        part = ", " + separator(cause);
        break;
    }
    if (cause.kind != CauseKind::woken && !where.empty()) part += " in " + where;
    line += (line.empty() || part.front() == ',' ? "" : ", ") + part;
  }
  return sanitize(line);
}

std::vector<ChainStep> chain_steps(const Profile& profile, const Chain& chain, bool all_frames) {
  std::vector<ChainStep> steps;
  for (const Cause& cause : chain) {
    const bool woken = cause.kind == CauseKind::woken;
    steps.push_back({ChainStep::Kind::separator, separator(cause), "", ""});
    std::vector<uint32_t> frames = frames_of(profile, cause, all_frames);
    if (!woken) std::reverse(frames.begin(), frames.end());
    for (const uint32_t index : frames) {
      const ProfileFrame& frame = profile.frames[index];
      steps.push_back({woken ? ChainStep::Kind::waker : ChainStep::Kind::wait, frame.function,
                       short_location(frame.file, frame.line), woken ? "" : cause.text});
    }
    if (!woken && cause.kind != CauseKind::cut)
      steps.push_back({ChainStep::Kind::reason, "[" + cause.text + "]", "", cause.text});
  }
  return steps;
}

}  // namespace fiberprof
