// SPDX-License-Identifier: BSD-2-Clause
// What a dump says of objects and of those who hold them, one line each.
#include <fiberprof/registry.h>

#include <climits>
#include <cstdio>

#include "render/dump_text.h"
#include "session/names.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

std::string hex_text(uint64_t address) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

std::string channel_text(const DumpObject& object) {
  const ObjectInfo& info = *object.info;
  std::string text = info.capacity == 0
                         ? "unbuffered"
                         : std::to_string(info.length) + " of " + std::to_string(info.capacity) + " buffered";
  text += info.closed ? ", closed" : ", never closed";
  text += "; handles: " + std::to_string(info.send_rights) + " to send, " + std::to_string(info.receive_rights) +
          " to receive";
  if (info.timers != 0) text += ", " + std::to_string(info.timers) + (info.timers == 1 ? " timer" : " timers");
  if (object.senders != 0 || object.waiting != 0)
    text +=
        "; waiting: " + std::to_string(object.senders) + " to send, " + std::to_string(object.waiting) + " to receive";
  return text;
}

std::string context_text(const ObjectInfo& info, uint64_t now_ns) {
  std::string text = info.count == 0 ? "not cancelled" : info.count == 1 ? "cancelled" : "past its deadline";
  if (info.count == 0 && info.deadline_ns != INT64_MAX && info.deadline_ns > 0) {
    const auto deadline = static_cast<uint64_t>(info.deadline_ns);
    text += deadline > now_ns ? ", deadline in " + format_duration(deadline - now_ns) : ", its deadline has passed";
  }
  return text;
}

std::string state_text(const DumpObject& object, uint64_t now_ns) {
  const ObjectInfo& info = *object.info;
  const std::string holder = object.owner.id == 0 ? "" : fiber_ref_text(object.owner);
  const std::string count = std::to_string(info.count);
  switch (object.kind) {
    case FIBERPROF_OBJECT_MUTEX:
      return holder.empty() ? info.count == 0 ? "free" : "being taken" : "held by " + holder;
    case FIBERPROF_OBJECT_ONCE:
      return holder.empty() ? info.count == 2 ? "done" : "not run yet" : "run by " + holder;
    case FIBERPROF_OBJECT_RWLOCK: {
      if (!holder.empty()) return "held for writing by " + holder;
      const auto readers = static_cast<uint32_t>(info.count);
      if (readers == 0) return "free";
      std::string text = "held for reading " + std::to_string(readers) + (readers == 1 ? " time" : " times");
      for (size_t i = 0; i < object.readers.size(); ++i)
        text += (i == 0 ? ", by " : ", ") + fiber_ref_text(object.readers[i]);
      return text;
    }
    case FIBERPROF_OBJECT_WAIT_GROUP:
      return count + " not done" + (info.tokens != 0 ? " (tokens alive: " + std::to_string(info.tokens) + ")" : "");
    case FIBERPROF_OBJECT_SEMAPHORE:
      return count + (info.most != INT64_MAX ? " of " + std::to_string(info.most) : "") + " permits free";
    case FIBERPROF_OBJECT_BARRIER:
      return count + " of " + std::to_string(info.parties) + " arrived";
    case FIBERPROF_OBJECT_CHANNEL:
      return channel_text(object);
    case FIBERPROF_OBJECT_CONTEXT:
      return context_text(info, now_ns);
    default:
      return "";
  }
}

}  // namespace

std::string fiber_ref_text(const FiberRef& fiber) {
  if (fiber.thread) return "thread " + std::to_string(fiber.id) + ", which is no fiber";
  std::string text = "fiber " + std::to_string(fiber.id);
  if (!fiber.alive) return text + ", which has ended";
  if (!fiber.name.empty()) text += " \"" + sanitize(fiber.name) + "\"";
  text += " (" + fiber_state_name(fiber.state);
  if (fiber.state == FIBERPROF_FIBER_PARKED) text += ", " + reason_name(fiber.reason);
  return text + ")";
}

std::string object_line(const DumpObject& object, uint64_t now_ns) {
  std::string text = std::string(object_kind_text(object.kind)) + " " + hex_text(object.address);
  if (!object.info) return text + ": there is none at this address any more";
  if (!object.info->name.empty()) text += " \"" + sanitize(object.info->name) + "\"";
  if (const std::string state = state_text(object, now_ns); !state.empty()) text += ": " + state;
  if (object.kind != FIBERPROF_OBJECT_CHANNEL && object.waiting + object.senders > 1)
    text += "; " + std::to_string(object.waiting + object.senders) + " wait";
  for (size_t i = 0; i < object.threads.size(); ++i)
    text += (i == 0 ? "; waiting too, and no fiber: thread " : ", thread ") + std::to_string(object.threads[i]);
  return text;
}

}  // namespace fiberprof
