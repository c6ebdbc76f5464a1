// SPDX-License-Identifier: BSD-2-Clause
// The second half of a dump: what was kept gets names, stacks with source lines, and the objects behind the waits.
#include <fiberprof/registry.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "dump/collect.h"
#include "dump/dump.h"
#include "dump/stack_looks.h"
#include "session/names.h"
#include "support/text.h"
#include "symbol/runtime_names.h"

namespace fiberprof {
namespace {

constexpr size_t kMaxGroupsShown = 50'000;
constexpr size_t kMaxWaitersRead = 16;       // of an object, to find threads among them
constexpr size_t kMaxObjectsRead = 100'000;  // to find those that one fiber holds

class Explainer {
 public:
  Explainer(DumpSource& source, const DumpOptions& options, Collection collection)
      : source_(source),
        options_(options),
        all_(std::move(collection)),
        objects_(*source.view),
        looks_(*source.symbols, options.all_frames) {
    shown_stack_.assign(all_.stacks.size(), kUnknown);
    shown_stack_[0] = 0;
  }

  Result<Dump> run() {
    head();
    if (by_object())
      objects();
    else if (options_.by == DumpBy::group)
      groups();
    else
      fibers();
    const bool one = options_.filter.fiber_id || !options_.filter.fiber_name.empty();
    if (one && options_.by == DumpBy::fiber) {
      if (dump_.fibers.empty())
        return fail(source_.label() + " has no fiber " +
                        (options_.filter.fiber_id ? std::to_string(*options_.filter.fiber_id)
                                                  : "named '" + sanitize(options_.filter.fiber_name) + "'"),
                    "", "fiberprof dump without --fiber shows all; it may have ended");
      relatives();
    }
    if (source_.core) dump_.lacking = source_.core->lacking();
    dump_.stacks = looks_.take();
    return std::move(dump_);
  }

 private:
  static constexpr uint32_t kUnknown = UINT32_MAX;

  bool by_object() const { return options_.by == DumpBy::channel || options_.by == DumpBy::object; }

  void head() {
    const FiberProcess& process = source_.process;
    dump_.label = source_.label();
    dump_.pid = process.pid;
    dump_.name = process.name;
    dump_.binary = process.binary_path;
    dump_.build_id = process.binary.build_id;
    if (source_.core) {
      dump_.core = source_.core->path();
      dump_.signal = source_.core->signal();
      for (const auto& [fiber, tid] : all_.workers)
        if (dump_.signal != 0 && source_.core->threads().front().tid == tid) dump_.crashed = fiber_ref(fiber);
    }
    dump_.taken_unix_ns = source_.taken_unix_ns;
    dump_.now_ns = source_.now_ns;
    dump_.fibers_seen = all_.seen;
    dump_.fibers_chosen = all_.chosen;
    dump_.torn = all_.torn;
    dump_.unfinished = all_.unfinished;
    dump_.without_stack = all_.without_stack;
    dump_.not_kept = all_.not_kept + all_.stacks.refused();
    for (size_t i = 0; i < all_.state_counts.size(); ++i)
      if (all_.state_counts[i] != 0) dump_.states[fiber_state_name(static_cast<uint8_t>(i))] = all_.state_counts[i];
    for (size_t i = 0; i < all_.reason_counts.size(); ++i)
      if (all_.reason_counts[i] != 0) dump_.reasons[reason_name(static_cast<uint8_t>(i))] = all_.reason_counts[i];
  }

  void fibers() {
    dump_.fibers.reserve(all_.fibers.size());
    for (CollectedFiber& collected : all_.fibers) {
      DumpFiber fiber;
      fiber.info = collected.info;
      fiber.age_ns = collected.age_ns;
      fiber.stack = shown(collected.stack);
      if (fiber.stack == 0) on_its_processor(fiber);
      site(fiber.info.creator_pc);
      entry(fiber.info.entry);
      fiber.parent = fiber_ref(fiber.info.parent);
      if (fiber.info.state == FIBERPROF_FIBER_PARKED) waits(fiber, collected.arms);
      dump_.fibers.push_back(std::move(fiber));
    }
  }

  void waits(DumpFiber& fiber, const std::vector<ArmInfo>& arms) {
    const FiberInfo& info = fiber.info;
    if (const uint32_t kind = object_kind_of(info.reason); kind != 0 && info.resource != 0)
      fiber.object = object(info.resource, kind);
    fiber.arms.reserve(arms.size());
    for (const ArmInfo& arm : arms)
      fiber.arms.emplace_back(
          arm.reason, arm.resource == 0 ? std::nullopt : std::optional(object(arm.resource, FIBERPROF_OBJECT_CHANNEL)));
    switch (info.reason) {
      case FIBERPROF_REASON_JOIN:
        fiber.joins = fiber_ref(info.resource);
        break;
      case FIBERPROF_REASON_IO_READ:
      case FIBERPROF_REASON_IO_WRITE:
      case FIBERPROF_REASON_IO_ACCEPT:
      case FIBERPROF_REASON_IO_CONNECT:
        fiber.descriptor = source_.descriptor(info.resource);
        break;
      default:
        break;
    }
  }

  // A fiber without a saved stack. In a core file the registers of its thread tell where it was.
  void on_its_processor(DumpFiber& fiber) {
    const uint8_t state = fiber.info.state;
    if (state != FIBERPROF_FIBER_RUNNING && state != FIBERPROF_FIBER_BLOCKING) {
      fiber.no_stack = dump_.why_no_stack(state);
      return;
    }
    const auto worker = all_.workers.find(fiber.info.id);
    fiber.no_stack = dump_.why_no_stack(state);
    if (worker == all_.workers.end()) return;
    fiber.no_stack += " on worker tid " + std::to_string(worker->second);
    if (!source_.core) return;
    for (const CoreThread& thread : source_.core->threads()) {
      if (thread.tid != worker->second) continue;
      const std::vector<Frame> frames = source_.symbols->stack(walk(thread, fiber.info), !options_.all_frames);
      if (frames.empty()) continue;
      fiber.stack = looks_.add(frames);
    }
  }

  std::vector<uint64_t> walk(const CoreThread& thread, const FiberInfo& fiber) const {
    constexpr size_t kMaxFrames = 128, kLeafBytes = 64 * 1024;
    std::vector<uint64_t> chain{thread.pc};
    if (thread.sp < fiber.stack_low || thread.sp >= fiber.stack_high) return {};  // not on its stack
    for (uint64_t frame = thread.bp; chain.size() < kMaxFrames;) {
      if (frame % 8 != 0 || frame < thread.sp || frame >= fiber.stack_high || fiber.stack_high - frame < 16) break;
      uint64_t record[2];
      if (source_.core->read(frame, {reinterpret_cast<char*>(record), sizeof record}) != ReadStatus::ok) break;
      if (record[1] == 0) break;
      chain.push_back(record[1]);
      if (record[0] <= frame) break;
      frame = record[0];
    }
    LeafSnapshot leaf;
    leaf.ip = thread.pc;
    leaf.sp = thread.sp;
    leaf.fp = leaf.from = thread.bp;
    leaf.stack.resize(std::min<uint64_t>(kLeafBytes, fiber.stack_high - thread.sp));
    if (source_.core->read(thread.sp, {reinterpret_cast<char*>(leaf.stack.data()), leaf.stack.size()}) !=
        ReadStatus::ok)
      return chain;
    return source_.symbols->complete(leaf, chain);
  }

  // What a group must have, so that giving all of them names takes no hours.
  uint64_t least_count() const {
    if (all_.groups.size() <= kMaxGroupsShown) return 0;
    std::vector<uint64_t> counts;
    for (const auto& [key, group] : all_.groups) counts.push_back(group.count);
    std::nth_element(counts.begin(), counts.begin() + kMaxGroupsShown, counts.end(), std::greater<>());
    return counts[kMaxGroupsShown];
  }

  // Groups that look the same are one: which of several paths inside the runtime led to a wait says nothing.
  template <class Wanted>
  void merge_groups(Wanted wanted) {
    struct Order {
      bool operator()(const GroupKey& a, const GroupKey& b) const {
        return std::tuple(a.object, a.stack, a.state, a.reason, a.creator_pc) <
               std::tuple(b.object, b.stack, b.state, b.reason, b.creator_pc);
      }
    };
    std::map<GroupKey, DumpGroup, Order> merged;
    const uint64_t least = least_count();
    for (auto& [key, group] : all_.groups) {
      if (!wanted(key)) continue;
      if (group.count < least || merged.size() >= kMaxGroupsShown) {
        dump_.not_kept += group.count;
        continue;
      }
      GroupKey as_shown = key;
      as_shown.stack = group.stack = shown(key.stack);
      as_shown.creator_pc = same_site(key.creator_pc);
      group.creator_pc = as_shown.creator_pc;
      merged[as_shown].add(group);
    }
    for (auto& [key, group] : merged) dump_.groups.push_back(std::move(group));
    std::stable_sort(dump_.groups.begin(), dump_.groups.end(), [](const DumpGroup& a, const DumpGroup& b) {
      return std::tuple(b.count, b.oldest_ns, a.oldest_id) < std::tuple(a.count, a.oldest_ns, b.oldest_id);
    });
  }

  void groups() {
    merge_groups([](const GroupKey&) { return true; });
    dump_.groups_chosen = dump_.groups.size();
    if (options_.rows != 0 && dump_.groups.size() > options_.rows) dump_.groups.resize(options_.rows);
    for (const DumpGroup& group : dump_.groups)
      if (group.objects.size() == 1) object(group.objects[0], object_kind_of(group.reason));
  }

  void objects() {
    std::unordered_map<uint64_t, std::pair<uint64_t, uint64_t>> fibers_of;  // count, oldest
    for (const auto& [key, group] : all_.groups) {
      auto& [count, oldest] = fibers_of[key.object];
      count += group.count;
      oldest = std::max(oldest, group.oldest_ns);
    }
    std::vector<std::tuple<uint64_t, uint64_t, uint64_t>> order;
    for (const auto& [address, waits] : fibers_of) order.emplace_back(waits.first, waits.second, address);
    std::sort(order.rbegin(), order.rend());
    dump_.objects_chosen = order.size();
    if (options_.rows != 0 && order.size() > options_.rows) order.resize(options_.rows);
    for (const auto& [count, oldest, address] : order) object(address, object_kind_of(all_.waits[address].reason));
    merge_groups([&](const GroupKey& key) { return dump_.objects_at.contains(key.object); });
  }

  size_t object(uint64_t address, uint32_t kind) {
    const auto [entry, fresh] = dump_.objects_at.try_emplace(address, dump_.objects.size());
    if (!fresh) return entry->second;
    const size_t index = entry->second;
    dump_.objects.emplace_back();
    DumpObject made;
    made.address = address;
    made.kind = kind;
    made.info = objects_.read(address, kind);
    if (made.info) {
      if ((made.info->owner & FIBERPROF_OWNER_THREAD) != 0) {
        made.owner.thread = true;
        made.owner.id = made.info->owner & ~FIBERPROF_OWNER_THREAD;
      } else {
        made.owner = fiber_ref(made.info->owner);
      }
      if (kind == FIBERPROF_OBJECT_CHANNEL) site(made.info->creator_pc);
    }
    if (const auto readers = all_.readers.find(address); readers != all_.readers.end())
      for (const uint64_t id : readers->second) made.readers.push_back(fiber_ref(id));
    if (made.info)
      for (const uint64_t queue : {made.info->waiters, made.info->receivers})
        for (const WaiterInfo& waiter : objects_.waiters(queue, kMaxWaitersRead))
          if (waiter.fiber == 0 && waiter.thread != 0) made.threads.push_back(waiter.thread & ~FIBERPROF_OWNER_THREAD);
    if (const auto waits = all_.waits.find(address); waits != all_.waits.end()) {
      made.senders = waits->second.senders;
      made.waiting = waits->second.others;
    }
    dump_.objects[index] = std::move(made);
    return index;
  }

  const FiberRef& fiber_ref(uint64_t id) {
    const auto [known, fresh] = refs_.try_emplace(id);
    if (fresh) known->second = look_up(id);
    return known->second;
  }

  FiberRef look_up(uint64_t id) {
    FiberRef ref;
    ref.id = id;
    const auto slot = std::lower_bound(all_.slots.begin(), all_.slots.end(), std::pair<uint64_t, uint64_t>(id, 0));
    if (id == 0 || slot == all_.slots.end() || slot->first != id) return ref;
    FiberInfo wanted;
    wanted.id = id;
    wanted.slot = slot->second;
    const auto now = source_.view->again(wanted);
    if (!now) return ref;
    ref.alive = true;
    ref.state = now->state;
    ref.reason = now->reason;
    ref.name = now->name;
    return ref;
  }

  // Of the fibers that were asked for by name or id: children, who joins them, what they hold.
  void relatives() {
    const auto among = [&](uint64_t id) {
      return id != 0 && std::ranges::any_of(dump_.fibers, [&](const DumpFiber& fiber) { return fiber.info.id == id; });
    };
    (void)source_.view->fibers(
        [&](const FiberInfo& fiber) {
          const bool joins = fiber.state == FIBERPROF_FIBER_PARKED && fiber.reason == FIBERPROF_REASON_JOIN;
          const FiberRef ref{fiber.id, false, true, fiber.state, fiber.reason, fiber.name};
          if (among(fiber.parent) && dump_.children.size() < Dump::kMostRelatives) dump_.children.push_back(ref);
          if (joins && among(fiber.resource) && dump_.joiners.size() < Dump::kMostRelatives)
            dump_.joiners.push_back(ref);
        },
        UINT64_MAX);
    size_t read = 0;
    for (const auto& [address, waits] : all_.waits) {
      const uint32_t kind = object_kind_of(waits.reason);
      if (kind != FIBERPROF_OBJECT_MUTEX && kind != FIBERPROF_OBJECT_RWLOCK && kind != FIBERPROF_OBJECT_ONCE) continue;
      if (++read > kMaxObjectsRead) break;
      const auto info = objects_.read(address, kind);
      if (info && among(info->owner)) dump_.holds.push_back(object(address, kind));
    }
    for (const DumpFiber& fiber : dump_.fibers)
      for (const uint64_t address : fiber.info.shared)
        if (address != 0) dump_.holds.push_back(object(address, FIBERPROF_OBJECT_RWLOCK));
  }

  // The index in Dump::stacks of what a collected stack looks like.
  uint32_t shown(uint32_t number) {
    uint32_t& known = shown_stack_[number];
    if (known != kUnknown) return known;
    return known = looks_.number(all_.stacks.at(number));
  }

  // The first frame of the program's own at the end of which something was spawned or made.
  const Frame* site(uint64_t pc) {
    if (pc == 0) return nullptr;
    const auto [entry, fresh] = dump_.sites.try_emplace(pc);
    if (fresh) entry->second = own_frame(source_.symbols->resolve(pc, true));
    return &entry->second;
  }

  // The first known address whose site looks like that of `pc`.
  uint64_t same_site(uint64_t pc) {
    const Frame* const frame = site(pc);
    if (frame == nullptr) return 0;
    return site_by_looks_.try_emplace(frame->function + '\n' + frame->file + ':' + std::to_string(frame->line), pc)
        .first->second;
  }

  void entry(uint64_t address) {
    if (address == 0) return;
    const auto [known, fresh] = dump_.entries.try_emplace(address);
    if (fresh) known->second = source_.symbols->resolve(address, false).back().function;
  }

  DumpSource& source_;
  const DumpOptions& options_;
  Collection all_;
  ObjectReader objects_;
  StackLooks looks_;
  Dump dump_;
  std::unordered_map<uint64_t, FiberRef> refs_;  // by id
  std::vector<uint32_t> shown_stack_;            // by number in the collection
  std::unordered_map<std::string, uint64_t> site_by_looks_;
};

constexpr struct {
  uint8_t value;
  std::string_view text;
} kStates[] = {
#define STATE(value, name, text) {value, text},
    FIBERPROF_FIBER_STATES(STATE)
#undef STATE
};

}  // namespace

std::string Dump::why_no_stack(uint8_t state) const {
  if (state == FIBERPROF_FIBER_RUNNING) return "running";
  if (state == FIBERPROF_FIBER_BLOCKING) return "in a blocking section";
  return core.empty() ? "it ran while it was read" : "it is not in the core";
}

std::string fiber_state_name(uint8_t state) {
  for (const auto& known : kStates)
    if (known.value == state) return std::string(known.text);
  return "state " + std::to_string(state);
}

std::optional<uint8_t> fiber_state_of(std::string_view name) {
  for (const auto& known : kStates)
    if (known.text == name) return known.value;
  return std::nullopt;
}

Result<Dump> gather(DumpSource& source, const DumpOptions& options) {
  auto collection = collect(source, options);
  if (!collection) return tl::unexpected(collection.error());
  return Explainer(source, options, std::move(*collection)).run();
}

}  // namespace fiberprof
