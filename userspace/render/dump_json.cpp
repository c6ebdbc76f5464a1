// SPDX-License-Identifier: BSD-2-Clause
#include "render/dump_json.h"

#include <fiberprof/registry.h>

#include <climits>
#include <cstdio>

#include "render/frame_json.h"
#include "session/names.h"

namespace fiberprof {
namespace {

using nlohmann::ordered_json;

constexpr int kFormat = 1;

std::string text_of(const ordered_json& json) {
  return json.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

std::string hex_text(uint64_t address) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

ordered_json ref_json(const FiberRef& fiber) {
  if (fiber.thread) return {{"thread", fiber.id}};
  ordered_json out = {{"fiber", fiber.id}};
  if (!fiber.alive) {
    out["ended"] = true;
    return out;
  }
  if (!fiber.name.empty()) out["name"] = sanitize(fiber.name);
  out["state"] = fiber_state_name(fiber.state);
  if (fiber.state == FIBERPROF_FIBER_PARKED) out["reason"] = reason_name(fiber.reason);
  return out;
}

ordered_json counts_json(const std::map<std::string, uint64_t>& counts) {
  ordered_json out = ordered_json::object();
  for (const auto& [name, count] : counts) out[sanitize(name)] = count;
  return out;
}

class DumpJson {
 public:
  DumpJson(const Dump& dump, const DumpOptions& options, const DumpSink& sink)
      : dump_(dump), options_(options), sink_(sink) {}

  void run() {
    out_ = text_of(head());
    out_.pop_back();                                    // the object goes on
    const bool counted = options_.by != DumpBy::group;  // who waits for an object
    switch (options_.by) {
      case DumpBy::fiber:
        array("fibers", dump_.fibers, [&](const DumpFiber& fiber) { return fiber_json(fiber); });
        if (!dump_.children.empty()) array("children", dump_.children, ref_json);
        if (!dump_.joiners.empty()) array("joined_by", dump_.joiners, ref_json);
        if (!dump_.holds.empty())
          array("holds", dump_.holds, [&](size_t index) { return object_json(dump_.objects[index], counted); });
        break;
      case DumpBy::group:
        array("groups", dump_.groups, [&](const DumpGroup& group) { return group_json(group); });
        break;
      case DumpBy::channel:
      case DumpBy::object:
        objects();
        break;
    }
    out_ += "}\n";
    sink_(out_);
  }

 private:
  template <class Items, class ToJson>
  void array(const char* key, const Items& items, ToJson to_json) {
    out_ += std::string(",\"") + key + "\":[";
    bool first = true;
    for (const auto& item : items) {
      if (!first) out_ += ',';
      first = false;
      out_ += text_of(to_json(item));
      if (out_.size() < 65536) continue;
      if (read_ && !sink_(out_)) read_ = false;
      out_.clear();
      if (!read_) break;
    }
    out_ += ']';
  }

  ordered_json head() const {
    ordered_json out = {{"dump", kFormat}};
    out["process"] = {{"pid", dump_.pid},
                      {"name", sanitize(dump_.name)},
                      {"binary", sanitize(dump_.binary)},
                      {"build_id", dump_.build_id}};
    if (!dump_.core.empty()) out["core"] = sanitize(dump_.core);
    if (dump_.signal != 0) out["signal"] = dump_.signal;
    if (dump_.crashed.id != 0) out["crashed"] = ref_json(dump_.crashed);
    out["taken_unix_ns"] = dump_.taken_unix_ns;
    const DumpFilter& filter = options_.filter;
    const size_t kept = options_.by == DumpBy::fiber ? dump_.fibers.size() : dump_.groups.size();
    const size_t of = options_.by == DumpBy::fiber ? dump_.fibers_chosen : dump_.groups_chosen;
    out["complete"] = !filter.state && !filter.reason && filter.older_ns == 0 && !filter.fiber_id &&
                      filter.fiber_name.empty() && kept == of && dump_.not_kept == 0;
    out["all_frames"] = options_.all_frames;
    out["fibers_total"] = dump_.fibers_seen;
    out["fibers_chosen"] = dump_.fibers_chosen;
    out["torn"] = dump_.torn;
    out["not_kept"] = dump_.not_kept;
    out["without_stack"] = dump_.without_stack;
    if (dump_.lacking != 0) out["lacking_bytes"] = dump_.lacking;
    out["states"] = counts_json(dump_.states);
    out["reasons"] = counts_json(dump_.reasons);
    return out;
  }

  ordered_json stack_json(uint32_t number) const {
    ordered_json out = ordered_json::array();
    for (const Frame& frame : dump_.stacks[number]) out.push_back(frame_json(frame));
    return out;
  }

  ordered_json site_json(uint64_t pc) const {
    const Frame* const site = dump_.site(pc);
    return site == nullptr ? ordered_json(nullptr) : frame_json(*site);
  }

  ordered_json object_json(const DumpObject& object, bool counted) const {
    ordered_json out = {{"kind", object_kind_text(object.kind)}, {"address", hex_text(object.address)}};
    if (!object.info) {
      out["gone"] = true;
      return out;
    }
    const ObjectInfo& info = *object.info;
    if (!info.name.empty()) out["name"] = sanitize(info.name);
    if (object.owner.id != 0) out["owner"] = ref_json(object.owner);
    switch (object.kind) {
      case FIBERPROF_OBJECT_CHANNEL:
        out["length"] = info.length;
        out["capacity"] = info.capacity;
        out["closed"] = info.closed;
        out["send_handles"] = info.send_rights;
        out["receive_handles"] = info.receive_rights;
        out["timers"] = info.timers;
        out["made_at"] = site_json(info.creator_pc);
        if (counted) out["waiting_senders"] = object.senders;
        break;
      case FIBERPROF_OBJECT_RWLOCK:
        out["readers"] = static_cast<uint32_t>(info.count);
        if (!object.readers.empty()) {
          ordered_json& readers = out["read_by"] = ordered_json::array();
          for (const FiberRef& reader : object.readers) readers.push_back(ref_json(reader));
        }
        break;
      case FIBERPROF_OBJECT_CONTEXT:
        out["cancelled"] = info.count != 0;
        out["sources"] = info.sources;
        if (info.deadline_ns != INT64_MAX) out["deadline_in_ns"] = from_now(static_cast<uint64_t>(info.deadline_ns));
        break;
      default:
        out["count"] = info.count;
        if (object.kind == FIBERPROF_OBJECT_WAIT_GROUP) out["tokens"] = info.tokens;
        if (object.kind == FIBERPROF_OBJECT_SEMAPHORE) out["most"] = info.most;
        if (object.kind == FIBERPROF_OBJECT_BARRIER) out["parties"] = info.parties;
        break;
    }
    if (!object.threads.empty()) out["waiting_threads"] = object.threads;
    if (counted) out[object.kind == FIBERPROF_OBJECT_CHANNEL ? "waiting_receivers" : "waiting"] = object.waiting;
    return out;
  }

  // Below 0: past. Of times that are none, as hostile memory has them, any number.
  int64_t from_now(uint64_t time_ns) const { return static_cast<int64_t>(time_ns - dump_.now_ns); }

  ordered_json fiber_json(const DumpFiber& fiber) const {
    const FiberInfo& info = fiber.info;
    ordered_json out = {{"id", info.id}};
    if (!info.name.empty()) out["name"] = sanitize(info.name);
    out["state"] = fiber_state_name(info.state);
    out["age_ns"] = fiber.age_ns;
    if (info.state == FIBERPROF_FIBER_PARKED) {
      out["reason"] = reason_name(info.reason);
      if (info.deadline_ns != 0) out["deadline_in_ns"] = from_now(info.deadline_ns);
      if (info.context != 0) out["context"] = hex_text(info.context);
      waits_json(fiber, out);
    }
    out["switches"] = info.switches;
    out["parent"] = info.parent;
    if (const auto entry = dump_.entries.find(info.entry); entry != dump_.entries.end())
      out["entry"] = sanitize(entry->second);
    out["spawned_at"] = site_json(info.creator_pc);
    if (!fiber.no_stack.empty()) out["on"] = fiber.no_stack;
    out["stack"] = stack_json(fiber.stack);
    return out;
  }

  void waits_json(const DumpFiber& fiber, ordered_json& out) const {
    if (fiber.object) out["object"] = object_json(dump_.objects[*fiber.object], true);
    if (!fiber.arms.empty()) {
      ordered_json& arms = out["arms"] = ordered_json::array();
      for (const auto& [reason, index] : fiber.arms)
        arms.push_back({{"reason", reason_name(static_cast<uint8_t>(reason))},
                        {"object", index ? object_json(dump_.objects[*index], true) : ordered_json(nullptr)}});
    }
    switch (fiber.info.reason) {
      case FIBERPROF_REASON_JOIN:
        out["joins"] = ref_json(fiber.joins);
        break;
      case FIBERPROF_REASON_IO_READ:
      case FIBERPROF_REASON_IO_WRITE:
      case FIBERPROF_REASON_IO_ACCEPT:
      case FIBERPROF_REASON_IO_CONNECT:
        out["fd"] = fiber.info.resource;
        if (!fiber.descriptor.empty()) out["file"] = sanitize(fiber.descriptor);
        break;
      default:
        break;
    }
  }

  ordered_json group_json(const DumpGroup& group) const {
    ordered_json out = {{"count", group.count}, {"state", fiber_state_name(group.state)}};
    if (group.state == FIBERPROF_FIBER_PARKED) out["reason"] = reason_name(group.reason);
    out["oldest_ns"] = group.oldest_ns;
    out["youngest_ns"] = group.youngest_ns;
    out["oldest"] = group.oldest_id;
    if (group.one_name && !group.name.empty()) out["name"] = sanitize(group.name);
    if (group.objects.size() == 1) {
      if (const auto index = dump_.object_at(group.objects[0]))
        out["object"] = object_json(dump_.objects[*index], options_.by != DumpBy::group);
    } else if (!group.objects.empty()) {
      out["objects"] = group.objects.size();  // kMost + 1: and more
    }
    if (options_.by == DumpBy::group) out["spawned_at"] = site_json(group.creator_pc);
    out["stack"] = stack_json(group.stack);
    return out;
  }

  void objects() {
    std::map<uint64_t, std::vector<const DumpGroup*>> groups_of;
    for (const DumpGroup& group : dump_.groups) groups_of[group.objects.front()].push_back(&group);
    std::vector<const DumpObject*> chosen;
    for (const DumpObject& object : dump_.objects)
      if (groups_of.contains(object.address)) chosen.push_back(&object);
    array("objects", chosen, [&](const DumpObject* object) {
      ordered_json out = object_json(*object, true);
      ordered_json& waiters = out["waiters"] = ordered_json::array();
      for (const DumpGroup* group : groups_of[object->address]) {
        ordered_json one = group_json(*group);
        one.erase("object");
        one["fibers"] = group->ids;
        waiters.push_back(std::move(one));
      }
      return out;
    });
  }

  const Dump& dump_;
  const DumpOptions& options_;
  const DumpSink& sink_;
  std::string out_;
  bool read_ = true;
};

}  // namespace

void dump_json(const Dump& dump, const DumpOptions& options, const DumpSink& sink) {
  DumpJson(dump, options, sink).run();
}

}  // namespace fiberprof
