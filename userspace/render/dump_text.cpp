// SPDX-License-Identifier: BSD-2-Clause
#include "render/dump_text.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "render/frame_text.h"
#include "session/names.h"
#include "support/duration.h"
#include "support/text.h"
#include "symbol/demangle.h"

namespace fiberprof {
namespace {

std::string plural(uint64_t count, const std::string& noun) {
  return std::to_string(count) + " " + noun + (count == 1 ? "" : "s");
}

std::string hex_text(uint64_t address) {
  char text[32];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

std::string counts_text(const std::map<std::string, uint64_t>& counts) {
  std::vector<std::pair<uint64_t, std::string>> order;
  for (const auto& [name, count] : counts) order.emplace_back(count, name);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::string text;
  for (const auto& [count, name] : order)
    text += (text.empty() ? "" : ", ") + std::to_string(count) + " " + sanitize(name);
  return text;
}

// "SIGSEGV"; "signal 77" for one without a name.
std::string signal_text(int number) {
  const char* const name = sigabbrev_np(number);
  return name != nullptr ? "SIG" + std::string(name) : "signal " + std::to_string(number);
}

// "1.2s to 4m05s"; one time when all are as old.
std::string ages(const DumpGroup& group) {
  const std::string oldest = format_duration(group.oldest_ns), youngest = format_duration(group.youngest_ns);
  return oldest == youngest ? "for " + oldest : "for " + youngest + " to " + oldest;
}

class DumpText {
 public:
  DumpText(const Dump& dump, const DumpOptions& options, const Style& style, size_t columns, const DumpSink& sink)
      : dump_(dump), options_(options), style_(style), columns_(columns), sink_(sink) {}

  void run() {
    head();
    switch (options_.by) {
      case DumpBy::fiber:
        for (const DumpFiber& fiber : dump_.fibers) {
          this->fiber(fiber);
          if (!flush()) return;
        }
        relatives();
        if (dump_.fibers_chosen > dump_.fibers.size()) more(dump_.fibers_chosen - dump_.fibers.size(), "fiber");
        break;
      case DumpBy::group:
        for (const DumpGroup& group : dump_.groups) {
          line();
          this->group(group);
          if (!flush()) return;
        }
        if (dump_.groups_chosen > dump_.groups.size()) more(dump_.groups_chosen - dump_.groups.size(), "group");
        break;
      case DumpBy::channel:
      case DumpBy::object:
        objects();
        break;
    }
    flush(1);
  }

 private:
  void line(const std::string& text = "") { out_ += text + "\n"; }

  // False: nobody reads any more.
  bool flush(size_t at_least = 65536) {
    if (out_.size() < at_least) return true;
    const bool read = sink_(out_);
    out_.clear();
    return read;
  }

  void head() {
    std::string text = style_.bold(dump_.label) + "  " + dump_totals(dump_);
    line(text);
    if (dump_.reasons.size() > 1) line(style_.dim("parked: " + counts_text(dump_.reasons)));
    if (dump_.signal != 0)
      line("ended by " + signal_text(dump_.signal) +
           (dump_.crashed.id != 0 ? " in " + fiber_ref_text(dump_.crashed) : " in a thread without a fiber"));
    text = dump_.core.empty() ? "" : "core written " + local_time(dump_.taken_unix_ns);
    const DumpFilter& filter = options_.filter;
    if (filter.state || filter.reason || filter.older_ns != 0)
      text += (text.empty() ? "" : "; ") + std::string("shown: ") + std::to_string(dump_.fibers_chosen) +
              (filter.state ? ", " + fiber_state_name(*filter.state) : "") +
              (filter.reason ? ", " + reason_name(*filter.reason) : "") +
              (filter.older_ns != 0 ? ", for " + format_duration(filter.older_ns) + " or longer" : "");
    if (!text.empty()) line(style_.dim(text));
  }

  void more(uint64_t count, const std::string& noun) {
    line();
    line(style_.dim("… " + plural(count, "more " + noun) + "; -n 0 shows all"));
  }

  std::string what(uint8_t state, uint8_t reason) const {
    if (state != FIBERPROF_FIBER_PARKED) return fiber_state_name(state);
    const std::string name = reason_name(reason);
    return style_.reason(name, name);
  }

  void stack(uint32_t number, size_t indent) {
    for (const std::string& each : stack_lines(frame_texts(dump_.stacks[number]), style_, indent, columns_)) line(each);
  }

  void object(size_t index, const std::string& indent) {
    const DumpObject& object = dump_.objects[index];
    line(indent + object_line(object, dump_.now_ns));
    const Frame* const made = object.info ? dump_.site(object.info->creator_pc) : nullptr;
    if (made != nullptr) line(std::string(indent.empty() ? 4 : 8, ' ') + style_.dim("made in " + place_text(*made)));
  }

  void fiber(const DumpFiber& fiber) {
    const FiberInfo& info = fiber.info;
    line();
    std::string text = style_.bold("fiber " + std::to_string(info.id));
    if (!info.name.empty()) text += " \"" + sanitize(info.name) + "\"";
    text += "  " + what(info.state, info.reason) + " for " + format_duration(fiber.age_ns);
    if (info.deadline_ns != 0 && info.state == FIBERPROF_FIBER_PARKED)
      text += info.deadline_ns > dump_.now_ns
                  ? ", ends by itself in " + format_duration(info.deadline_ns - dump_.now_ns)
                  : ", due " + format_duration(dump_.now_ns - info.deadline_ns) + " ago";
    line(text);
    waits_for(fiber);
    if (options_.filter.fiber_id || !options_.filter.fiber_name.empty()) details(fiber);
    if (fiber.stack == 0) {
      line("        " + style_.dim("no stack: " + fiber.no_stack));
    } else {
      if (!fiber.no_stack.empty()) line("    " + style_.dim(fiber.no_stack));
      stack(fiber.stack, 8);
    }
    origin(fiber);
  }

  void waits_for(const DumpFiber& fiber) {
    const FiberInfo& info = fiber.info;
    if (info.state != FIBERPROF_FIBER_PARKED) return;
    if (fiber.object) object(*fiber.object, "    on ");
    for (const auto& [reason, index] : fiber.arms) {
      const std::string way = reason == FIBERPROF_REASON_CHAN_SEND ? "    to send on " : "    to receive from ";
      if (index)
        object(*index, way);
      else
        line(way + "the nil channel: never");
    }
    switch (info.reason) {
      case FIBERPROF_REASON_JOIN:
        line("    on " + fiber_ref_text(fiber.joins));
        break;
      case FIBERPROF_REASON_IO_READ:
      case FIBERPROF_REASON_IO_WRITE:
      case FIBERPROF_REASON_IO_ACCEPT:
      case FIBERPROF_REASON_IO_CONNECT:
        line("    on file descriptor " + std::to_string(info.resource) +
             (fiber.descriptor.empty() ? "" : ", " + sanitize(fiber.descriptor)));
        break;
      default:
        break;
    }
    if (info.context != 0 && info.reason != FIBERPROF_REASON_CONTEXT)
      line("    or until context " + hex_text(info.context) + " is cancelled");
  }

  // What only somebody who asked for one fiber wants to see.
  void details(const DumpFiber& fiber) {
    const FiberInfo& info = fiber.info;
    line("    has left its processor " + plural(info.switches, "time") + ", last from processor " +
         std::to_string(info.processor));
    std::string text = "    stack " + hex_text(info.stack_low) + " to " + hex_text(info.stack_high);
    if (info.sp != 0 && info.sp >= info.stack_low && info.sp < info.stack_high)
      text += ", " + std::to_string(info.stack_high - info.sp) + " bytes used of " +
              std::to_string(info.stack_high - info.stack_low);
    line(text);
    if (const auto entry = dump_.entries.find(info.entry); entry != dump_.entries.end())
      line("    began in " + display_name(entry->second));
  }

  void origin(const DumpFiber& fiber) {
    const Frame* const site = dump_.site(fiber.info.creator_pc);
    std::string text;
    if (site != nullptr && !site->runtime) text += " in " + place_text(*site);
    if (fiber.parent.id != 0)
      text += " by fiber " + std::to_string(fiber.parent.id) +
              (fiber.parent.name.empty() ? "" : " \"" + sanitize(fiber.parent.name) + "\"");
    if (!text.empty()) line("        " + style_.dim("spawned" + text));
  }

  void relatives() {
    const auto list = [&](const std::string& title, const std::vector<FiberRef>& fibers) {
      if (fibers.empty()) return;
      line();
      line(title + " " + std::to_string(fibers.size()) + (fibers.size() == Dump::kMostRelatives ? " or more" : ""));
      for (const FiberRef& fiber : fibers) line("    " + fiber_ref_text(fiber));
    };
    list("children:", dump_.children);
    list("joined by:", dump_.joiners);
    if (dump_.holds.empty()) return;
    line();
    line("holds: " + std::to_string(dump_.holds.size()) + " that others wait for, or for reading");
    for (const size_t index : dump_.holds) object(index, "    ");
  }

  void group(const DumpGroup& group) {
    std::string text =
        style_.bold(std::to_string(group.count)) + "  " + what(group.state, group.reason) + " " + ages(group);
    if (group.objects.size() > 1)
      text += ", on " +
              (group.objects.size() > DumpGroup::kMost ? "more than " + std::to_string(DumpGroup::kMost)
                                                       : std::to_string(group.objects.size())) +
              " " + object_kind_text(object_kind_of(group.reason)) + "s";
    line(text);
    if (const auto index = group.objects.size() == 1 ? dump_.object_at(group.objects[0]) : std::nullopt)
      object(*index, "    on ");
    if (group.stack == 0)
      line("        " + style_.dim("no stack: " + dump_.why_no_stack(group.state)));
    else
      stack(group.stack, 8);
    text.clear();
    if (const Frame* const site = dump_.site(group.creator_pc); site != nullptr && !site->runtime)
      text = "spawned in " + place_text(*site) + "; ";
    if (group.one_name && !group.name.empty())
      text += (group.count == 1 ? "named \"" : "all named \"") + sanitize(group.name) + "\"; ";
    line("        " +
         style_.dim(text + (group.count == 1 ? "fiber " : "oldest is fiber ") + std::to_string(group.oldest_id)));
  }

  void objects() {
    std::map<uint64_t, std::vector<const DumpGroup*>> groups_of;
    for (const DumpGroup& group : dump_.groups) groups_of[group.objects.front()].push_back(&group);
    size_t shown = 0;
    for (size_t i = 0; i < dump_.objects.size(); ++i) {
      const auto groups = groups_of.find(dump_.objects[i].address);
      if (groups == groups_of.end()) continue;
      ++shown;
      line();
      object(i, "");
      for (const DumpGroup* group : groups->second) waiters(*group);
      if (!flush()) return;
    }
    const std::string noun = options_.by == DumpBy::channel ? "channel" : "object";
    if (shown == 0)
      line("no fiber waits for " + std::string(options_.by == DumpBy::channel ? "a channel" : "an object"));
    if (dump_.objects_chosen > shown) more(dump_.objects_chosen - shown, noun);
  }

  void waiters(const DumpGroup& group) {
    std::string text = "    " + style_.bold(std::to_string(group.count)) + "  " + what(group.state, group.reason) +
                       " " + ages(group) + (group.count == 1 ? ": fiber " : ": fibers ");
    for (size_t i = 0; i < group.ids.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(group.ids[i]);
    if (group.count > group.ids.size()) text += " …";
    if (group.one_name && !group.name.empty()) text += ", named \"" + sanitize(group.name) + "\"";
    line(text);
    stack(group.stack, 12);
  }

  const Dump& dump_;
  const DumpOptions& options_;
  const Style& style_;
  const size_t columns_;
  const DumpSink& sink_;
  std::string out_;
};

}  // namespace

std::string dump_totals(const Dump& dump) {
  std::string text = plural(dump.fibers_seen, "fiber");
  if (dump.fibers_seen != 0) text += ": " + counts_text(dump.states);
  return text;
}

void dump_text(const Dump& dump, const DumpOptions& options, const Style& style, size_t columns, const DumpSink& sink) {
  DumpText(dump, options, style, columns, sink).run();
}

}  // namespace fiberprof
