// SPDX-License-Identifier: BSD-2-Clause
#include "render/deadlock_view.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

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

std::string hex_address(uint64_t address) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

const ObjectInfo* object_at(const State& state, uint64_t address) {
  const auto found = state.objects.find(address);
  return found == state.objects.end() || !found->second.seen[1] ? nullptr : &*found->second.seen[1];
}

std::string fiber_label(const State& state, uint64_t id) {
  std::string label = "fiber " + std::to_string(id);
  const FiberState* fiber = state.find(id);
  if (fiber != nullptr && !fiber->info.name.empty()) label += " \"" + sanitize(fiber->info.name) + "\"";
  return label;
}

std::string owner_label(const State& state, uint64_t owner) {
  if ((owner & FIBERPROF_OWNER_THREAD) != 0) return "thread " + std::to_string(owner & ~FIBERPROF_OWNER_THREAD);
  if (state.find(owner) == nullptr) return "fiber " + std::to_string(owner) + ", which has ended";
  return fiber_label(state, owner);
}

std::string object_label(const ObjectInfo& object) {
  std::string label = object_kind_text(object.kind);
  if (!object.name.empty()) label += " \"" + sanitize(object.name) + "\"";
  return label + " (" + hex_address(object.address) + ")";
}

// What one alternative of a wait waits for, and why that does not come.
std::string wait_phrase(const State& state, const FiberState& fiber, const Alternative& wait,
                        const DeadlockNames& names) {
  const ObjectInfo* object = object_at(state, wait.resource);
  const auto rights = [&](uint32_t left, const char* who) {
    if (object->name.empty() && object->creator_pc != 0) return ", made at " + names.place(object->creator_pc);
    return left == 0 ? std::string("; no ") + who + " is left" : std::string();
  };
  switch (wait.reason) {
    case FIBERPROF_REASON_NIL_CHANNEL:
      return "waits on a nil channel";
    case FIBERPROF_REASON_EMPTY_SELECT:
      return "waits in a select without arms";
    case FIBERPROF_REASON_JOIN:
      return "waits for " + fiber_label(state, wait.resource) + " to end";
    default:
      break;
  }
  if (wait.resource == 0) return "has an arm on a nil channel";
  if (object == nullptr) return "waits: " + reason_name(static_cast<uint8_t>(wait.reason));
  const std::string label = object_label(*object);
  switch (wait.reason) {
    case FIBERPROF_REASON_CHAN_RECV:
      return "waits to receive from " + label + rights(object->send_rights, "sender");
    case FIBERPROF_REASON_CHAN_SEND:
      return "waits to send to " + label + rights(object->receive_rights, "receiver");
    case FIBERPROF_REASON_MUTEX:
      return "waits to lock " + label + ", held by " +
             (object->owner == fiber.info.id ? "itself" : owner_label(state, object->owner));
    case FIBERPROF_REASON_RWLOCK_READ:
    case FIBERPROF_REASON_RWLOCK_WRITE: {
      std::string phrase = wait.reason == FIBERPROF_REASON_RWLOCK_READ ? "waits to read-lock " : "waits to write-lock ";
      phrase += label;
      const ObjectState& seen = state.objects.at(wait.resource);
      if (object->owner != 0)
        return phrase + ", write-locked by " +
               (object->owner == fiber.info.id ? "itself" : owner_label(state, object->owner));
      if (wait.reason == FIBERPROF_REASON_RWLOCK_READ) return phrase + ", behind a writer that waits";
      if (seen.readers_settled && seen.orphaned > 0)
        return phrase + ", read-locked by " + std::to_string(seen.orphaned) + " that ended without unlocking it";
      return phrase + ", read-locked by " + std::to_string(object->count & 0xffff'ffff);
    }
    case FIBERPROF_REASON_ONCE:
      return "waits for " + label + ", run by " + owner_label(state, object->owner);
    case FIBERPROF_REASON_WAIT_GROUP:
      return "waits for " + label + ", of which " + std::to_string(object->count) + " are not done";
    case FIBERPROF_REASON_CONTEXT:
      return "waits for the end of " + label + ", which nobody can cancel";
    default:
      return "waits for " + label;
  }
}

std::string wait_phrases(const State& state, const FiberState& fiber, const DeadlockNames& names) {
  if (fiber.alternatives.size() == 1) return wait_phrase(state, fiber, fiber.alternatives[0], names);
  std::string phrase = "selects: ";
  for (size_t i = 0; i < fiber.alternatives.size() && i < 8; ++i)
    phrase += (i == 0 ? "" : ", or ") + wait_phrase(state, fiber, fiber.alternatives[i], names);
  if (fiber.alternatives.size() > 8) phrase += ", …";
  return phrase;
}

// What a fiber holds of that which others are seen to wait for, and its read-locks.
std::vector<std::string> held(const State& state, const FiberState& fiber) {
  std::vector<std::string> all;
  for (const auto& [address, object] : state.objects)
    if (object.seen[1] && object.seen[1]->owner == fiber.info.id && fiber.info.id != 0)
      all.push_back(object_label(*object.seen[1]));
  for (const uint64_t lock : fiber.info.shared)
    if (lock != 0) {
      const ObjectInfo* object = object_at(state, lock);
      all.push_back((object == nullptr ? "rwlock (" + hex_address(lock) + ")" : object_label(*object)) + " to read");
    }
  std::sort(all.begin(), all.end());
  return all;
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
  std::string text = sanitize(names.target) + ": ";
  if (verdict.dead.empty()) return text + "no deadlock among " + plural(state.fibers.size(), "fiber", "fibers") + "\n";
  text += style.bold(std::to_string(verdict.dead.size()) + " of " + plural(state.fibers.size(), "fiber", "fibers") +
                     " will never run again") +
          "\n";
  for (const DeadlockCause& cause : verdict.causes) {
    text += "\n" + style.warning(std::string(grade_text(cause.grade)) + ": " + headline(cause)) + "; " +
            ago(cause.closed_ns, state.now_ns) + " ago";
    if (!cause.behind.empty())
      text += "; " + plural(cause.behind.size(), "more is", "more are") + " blocked behind " +
              (cause.fibers.size() == 1 ? "it" : "them");
    text += "\n";
    for (size_t i = 0; i < cause.fibers.size() && i < kParticipants; ++i) {
      const FiberState& fiber = state.fibers[cause.fibers[i]];
      text += "\n  " + style.bold(fiber_label(state, fiber.info.id)) + " " + wait_phrases(state, fiber, names) +
              ", for " + ago(fiber.info.since_ns, state.now_ns) + "\n";
      for (const std::string& lock : held(state, fiber)) text += "    holds " + lock + "\n";
      add_stack(text, names.stack(fiber.info), style);
    }
    if (cause.fibers.size() > kParticipants)
      text += "\n  … and " + plural(cause.fibers.size() - kParticipants, "more", "more") + "\n";
    if (!cause.behind.empty())
      text += "\n  blocked behind " + std::string(cause.fibers.size() == 1 ? "it" : "them") + ":\n";
    for (size_t i = 0; i < cause.behind.size() && i < kBehind; ++i) {
      const FiberState& fiber = state.fibers[cause.behind[i]];
      text += "    " + fiber_label(state, fiber.info.id) + " " + wait_phrases(state, fiber, names) + "\n";
    }
    if (cause.behind.size() > kBehind) text += "    … and " + std::to_string(cause.behind.size() - kBehind) + " more\n";
  }
  return text;
}

std::string deadlock_json(const Detection& detection, const DeadlockNames& names,
                          const nlohmann::ordered_json* suspicious) {
  const State& state = detection.state;
  const Verdict& verdict = detection.verdict;
  const auto fiber_json = [&](size_t index, bool stack) {
    const FiberState& fiber = state.fibers[index];
    Json json;
    json["id"] = fiber.info.id;
    json["name"] = sanitize(fiber.info.name);
    json["since_ns"] = fiber.info.since_ns;
    Json waits = Json::array();
    for (const Alternative& wait : fiber.alternatives) {
      Json one;
      one["reason"] = reason_name(static_cast<uint8_t>(wait.reason));
      if (wait.reason == FIBERPROF_REASON_JOIN)
        one["fiber"] = wait.resource;
      else if (wait.resource != 0)
        one["object"] = hex_address(wait.resource);
      if (const ObjectInfo* object = object_at(state, wait.resource)) {
        one["kind"] = object_kind_text(object->kind);
        one["object_name"] = sanitize(object->name);
        if (object->owner != 0) {
          const bool thread = (object->owner & FIBERPROF_OWNER_THREAD) != 0;
          one[thread ? "owner_thread" : "owner"] = object->owner & ~FIBERPROF_OWNER_THREAD;
        }
      }
      waits.push_back(std::move(one));
    }
    json["waits"] = std::move(waits);
    if (!stack) return json;
    json["holds"] = held(state, fiber);
    Json frames = Json::array();
    for (const Frame& frame : names.stack(fiber.info))
      frames.push_back({{"function", sanitize(frame.function)}, {"file", sanitize(frame.file)}, {"line", frame.line}});
    json["stack"] = std::move(frames);
    return json;
  };
  Json json;
  json["target"] = sanitize(names.target);
  json["fibers"] = state.fibers.size();
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
  const auto quote = [](const std::string& text) {
    std::string quoted = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
    return quoted + "\"";
  };
  std::unordered_set<size_t> cores;
  for (const DeadlockCause& cause : verdict.causes) cores.insert(cause.fibers.begin(), cause.fibers.end());
  std::string text =
      "digraph deadlock {\n  label=" + quote(sanitize(names.target)) +
      ";\n  node [shape=box, fontname=\"sans-serif\"];\n  edge [fontname=\"sans-serif\", fontsize=10];\n";
  for (size_t i = 0; i < verdict.dead.size(); ++i) {
    const FiberState& fiber = state.fibers[verdict.dead[i]];
    const std::string id = std::to_string(fiber.info.id);
    text += "  " + id + " [label=" + quote(fiber_label(state, fiber.info.id)) +
            (cores.contains(verdict.dead[i]) ? ", style=filled, fillcolor=\"#f4b6a6\"" : "") + "];\n";
    const Enabler& enabler = verdict.waits[i];
    if (enabler.fiber != 0) {
      const ObjectInfo* object = object_at(state, enabler.object);
      text += "  " + id + " -> " + std::to_string(enabler.fiber) +
              " [label=" + quote(object == nullptr ? "join" : object_label(*object)) + "];\n";
    } else {
      text += "  " + id + " -> nobody" + id + " [label=" + quote(wait_phrases(state, fiber, names)) + "];\n  nobody" +
              id + " [shape=point];\n";
    }
  }
  return text + "}\n";
}

}  // namespace fiberprof
