// SPDX-License-Identifier: BSD-2-Clause
#include "render/deadlock_view.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "render/deadlock_phrases.h"
#include "render/stack_view.h"
#include "session/names.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kFrames = 12;        // of a stack in text
constexpr size_t kBehind = 10;        // fibers blocked behind a cause that are named
constexpr size_t kParticipants = 50;  // fibers of one cause that are shown with their stacks

// What leads from an object to who holds it.
const char* right_text(Right right) {
  switch (right) {
    case Right::send:
      return "could send";
    case Right::receive:
      return "could receive";
    case Right::cancel:
      return "could cancel";
    case Right::token:
      return "holds a token";
    case Right::touch:
      break;
  }
  return "reaches it";
}

std::string ago(uint64_t then, uint64_t now) { return then < now ? format_duration(now - then) : "0"; }

std::string plural(size_t count, const char* one, const char* many) {
  return std::to_string(count) + " " + (count == 1 ? one : many);
}

void add_stack(std::string& text, const std::vector<Frame>& stack, const Style& style) {
  for (size_t i = 0; i < stack.size() && i < kFrames; ++i) {
    const std::string where = short_location(stack[i].file, stack[i].line);
    text +=
        "      " + display_name(stack[i].function) + (where.empty() ? "" : "  " + style.dim(sanitize(where))) + "\n";
  }
  if (stack.size() > kFrames) text += style.dim("      … " + std::to_string(stack.size() - kFrames) + " more") + "\n";
}

}  // namespace

std::string deadlock_text(const Detection& detection, const DeadlockNames& names, const Style& style, size_t) {
  const State& state = detection.state;
  const Verdict& verdict = detection.verdict;
  const DeadlockPhrases phrases(detection, names.place);
  std::string text = sanitize(names.target) + ": ";
  if (verdict.dead.empty()) return text + "no deadlock among " + plural(state.total(), "fiber", "fibers") + "\n";
  text += style.bold(std::to_string(verdict.dead.size()) + " of " + plural(state.total(), "fiber", "fibers") +
                     " will never run again") +
          "\n";
  for (const DeadlockCause& cause : verdict.causes) {
    text += "\n" + style.warning(std::string(grade_text(cause.grade)) + ": " + headline(cause)) + ", " +
            ago(cause.closed_ns, state.now_ns) + " ago";
    if (!cause.behind.empty())
      text += "; " + plural(cause.behind.size(), "more is", "more are") + " blocked behind " +
              (cause.fibers.size() == 1 ? "it" : "them");
    text += "\n";
    for (size_t i = 0; i < cause.fibers.size() && i < kParticipants; ++i) {
      const FiberState& fiber = state.fibers[cause.fibers[i]];
      text +=
          "\n  " + style.bold(phrases.fiber(fiber.info.id)) + ", for " + ago(fiber.info.since_ns, state.now_ns) + "\n";
      for (const std::string& what : phrases.waits(fiber, false)) text += "    " + what + "\n";
      for (const std::string& what : phrases.holds(fiber)) text += "    " + what + "\n";
      add_stack(text, names.stack(fiber.info), style);
    }
    if (cause.fibers.size() > kParticipants)
      text += "\n  … and " + plural(cause.fibers.size() - kParticipants, "more", "more") + "\n";
    if (!cause.behind.empty())
      text += "\n  blocked behind " + std::string(cause.fibers.size() == 1 ? "it" : "them") + ":\n";
    for (size_t i = 0; i < cause.behind.size() && i < kBehind; ++i) {
      const FiberState& fiber = state.fibers[cause.behind[i]];
      const std::vector<std::string> waits = phrases.waits(fiber, true);
      text += "    " + phrases.fiber(fiber.info.id);
      for (const std::string& what : waits) text += " " + what + (&what == &waits.back() ? "\n" : ",");
    }
    if (cause.behind.size() > kBehind) text += "    … and " + std::to_string(cause.behind.size() - kBehind) + " more\n";
  }
  return text;
}

std::string deadlock_json(const Detection& detection, const DeadlockNames& names,
                          const nlohmann::ordered_json* suspicious) {
  const State& state = detection.state;
  const Verdict& verdict = detection.verdict;
  const DeadlockPhrases phrases(detection, names.place);
  const auto fiber_json = [&](size_t index, bool stack) {
    const FiberState& fiber = state.fibers[index];
    Json json;
    json["id"] = fiber.info.id;
    json["name"] = sanitize(fiber.info.name);
    json["since_ns"] = fiber.info.since_ns;
    Json waits = Json::array();
    std::vector<Alternative> ways = fiber.alternatives;
    if (fiber.info.context != 0) ways.push_back({FIBERPROF_REASON_CONTEXT, fiber.info.context});
    for (const Alternative& wait : ways) {
      Json one;
      one["reason"] = reason_name(static_cast<uint8_t>(wait.reason));
      if (wait.reason == FIBERPROF_REASON_JOIN)
        one["fiber"] = wait.resource;
      else if (wait.resource != 0)
        one["object"] = DeadlockPhrases::address(wait.resource);
      if (const ObjectInfo* object = phrases.info(wait.resource)) {
        one["kind"] = object_kind_text(object->kind);
        one["object_name"] = sanitize(object->name);
        if (object->owner != 0) {
          const bool thread = (object->owner & FIBERPROF_OWNER_THREAD) != 0;
          one[thread ? "owner_thread" : "owner"] = object->owner & ~FIBERPROF_OWNER_THREAD;
        }
      }
      one["enablers"] = phrases.enablers(fiber, wait);
      waits.push_back(std::move(one));
    }
    json["waits"] = std::move(waits);
    if (!stack) return json;
    json["holds"] = phrases.holds(fiber);
    Json frames = Json::array();
    for (const Frame& frame : names.stack(fiber.info))
      frames.push_back({{"function", sanitize(frame.function)}, {"file", sanitize(frame.file)}, {"line", frame.line}});
    json["stack"] = std::move(frames);
    return json;
  };
  Json json;
  json["target"] = sanitize(names.target);
  json["fibers"] = state.total();
  json["torn"] = state.torn;
  json["now_ns"] = state.now_ns;
  json["global"] = verdict.global;
  if (!detection.inconclusive.empty()) json["inconclusive"] = sanitize(detection.inconclusive);
  Json dead = Json::array();
  for (const size_t index : verdict.dead) dead.push_back(state.fibers[index].info.id);
  json["dead"] = std::move(dead);
  Json causes = Json::array();
  for (const DeadlockCause& cause : verdict.causes) {
    Json one;
    one["grade"] = grade_text(cause.grade);
    one["kind"] = cause_text(cause.kind);
    one["closed_ns"] = cause.closed_ns;
    one["last_moved_ns"] = cause.last_moved_ns;
    one["fibers"] = Json::array();
    for (const size_t index : cause.fibers) one["fibers"].push_back(fiber_json(index, true));
    one["behind"] = Json::array();
    for (const size_t index : cause.behind) one["behind"].push_back(fiber_json(index, false));
    causes.push_back(std::move(one));
  }
  json["causes"] = std::move(causes);
  if (suspicious != nullptr) json["suspicious"] = *suspicious;
  return json.dump(2) + "\n";
}

std::string deadlock_dot(const Detection& detection, const DeadlockNames& names) {
  const State& state = detection.state;
  const Verdict& verdict = detection.verdict;
  const DeadlockPhrases phrases(detection, names.place);
  const auto quote = [](const std::string& text) {
    std::string quoted = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    return quoted + "\"";
  };
  const auto arrow = [](const std::string& from, const std::string& to, const char* label) {
    return "  " + from + " -> " + to + " [label=\"" + label + "\"];\n";
  };
  std::unordered_set<size_t> cores;
  for (const DeadlockCause& cause : verdict.causes) cores.insert(cause.fibers.begin(), cause.fibers.end());
  std::string text =
      "digraph deadlock {\n  label=" + quote(sanitize(names.target)) +
      ";\n  node [shape=box, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n";
  std::map<uint64_t, std::set<std::pair<uint64_t, const char*>>> objects;  // who holds each, and what of it
  const auto object_node = [](uint64_t object) { return "o" + DeadlockPhrases::address(object); };
  for (size_t i = 0; i < verdict.dead.size(); ++i) {
    const FiberState& fiber = state.fibers[verdict.dead[i]];
    const std::string id = std::to_string(fiber.info.id);
    text += "  " + id + " [label=" + quote(phrases.fiber(fiber.info.id)) +
            (cores.contains(verdict.dead[i]) ? ", style=filled, fillcolor=\"#f4b6a6\"" : "") + "];\n";
    for (const Alternative& wait : fiber.alternatives) {
      const std::string reason = reason_name(static_cast<uint8_t>(wait.reason));
      if (wait.reason == FIBERPROF_REASON_JOIN) {
        text += arrow(id, std::to_string(wait.resource), "join");
      } else if (wait.resource != 0 && wait.reason != FIBERPROF_REASON_CONTEXT) {
        objects.try_emplace(wait.resource);
        text += arrow(id, object_node(wait.resource), reason.c_str());
      }
    }
    for (const Need& need : needs_of(state, fiber)) {
      if (need.right != Right::cancel) continue;  // all others are of an alternative
      objects.try_emplace(need.object);
      text += arrow(id, object_node(need.object), "context");
    }
    for (const Enabler& owner : verdict.owners[i])
      if (owner.object != 0) objects[owner.object].emplace(owner.fiber, "holds");
  }
  for (const auto& [need, fibers] : verdict.holdings)
    for (const size_t index : fibers) objects[need.object].emplace(state.fibers[index].info.id, right_text(need.right));
  for (const auto& [object, holders] : objects) {
    text += "  " + object_node(object) + " [shape=ellipse, label=" + quote(phrases.object(object)) + "];\n";
    for (const auto& [fiber, what] : holders) text += arrow(object_node(object), std::to_string(fiber), what);
  }
  return text + "}\n";
}

}  // namespace fiberprof
