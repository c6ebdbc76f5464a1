// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/collect.h"

#include <fiberprof/registry.h>

#include <algorithm>

#include "deadlock/read_locks.h"
#include "session/stopwatch.h"

namespace fiberprof {
namespace {

constexpr int kDeepest = 10'000;  // contexts above one another

Result<void> read_fibers(RegistryView& view, State& state) {
  auto torn = view.fibers(
      [&](const FiberInfo& info) {
        state.by_id.emplace(info.id, state.fibers.size());
        state.fibers.push_back({info, {}, false});
      },
      kMaxSlots);
  if (!torn) return tl::unexpected(torn.error());
  state.torn += *torn;
  return {};
}

void read_alternatives(RegistryView& view, FiberState& fiber) {
  const FiberInfo& info = fiber.info;
  if (info.state != FIBERPROF_FIBER_PARKED) return;
  if (info.reason != FIBERPROF_REASON_SELECT) {
    fiber.alternatives.push_back({info.reason, info.resource});
    return;
  }
  const auto arms = view.arms(info);
  for (const ArmInfo& arm : arms) fiber.alternatives.push_back({arm.reason, arm.resource});
  // Arms that cannot be read may be anything.
  if (arms.size() != info.arms_len || arms.empty()) fiber.alternatives.push_back({FIBERPROF_REASON_OTHER, 0});
}

// Adds the objects that a fiber waits for, as seen the `which`th time.
void read_objects(ObjectReader& reader, const FiberState& fiber, State& state, int which) {
  const auto look = [&](uint64_t address, uint32_t kind) -> const std::optional<ObjectInfo>& {
    static const std::optional<ObjectInfo> none;
    if (address == 0 || kind == 0) return none;
    const auto [found, fresh] = state.objects.try_emplace(address);
    std::optional<ObjectInfo>& seen = found->second.seen[which];
    // Waited for as two kinds of things, it is neither.
    if (!seen && (fresh || which == 1)) seen = reader.read(address, kind);
    return seen;
  };
  const auto look_up = [&](uint64_t context) {
    for (int depth = 0; context != 0 && depth < kDeepest; ++depth) {
      const auto known = state.objects.find(context);
      if (known != state.objects.end() && known->second.seen[which]) return;
      const auto& seen = look(context, FIBERPROF_OBJECT_CONTEXT);
      context = seen ? seen->parent : 0;
    }
  };
  look_up(fiber.info.context);
  for (const Alternative& wait : fiber.alternatives) {
    if (wait.reason == FIBERPROF_REASON_CONTEXT)
      look_up(wait.resource);
    else
      look(wait.resource, object_kind_of(wait.reason));
  }
}

// Whether the wait may end at all by something this reader follows.
bool in_question(const FiberState& fiber) {
  return fiber.info.state == FIBERPROF_FIBER_PARKED && fiber.info.deadline_ns == 0 &&
         std::all_of(fiber.alternatives.begin(), fiber.alternatives.end(), [](const Alternative& wait) {
           return object_kind_of(wait.reason) != 0 || wait.reason == FIBERPROF_REASON_JOIN ||
                  wait.reason == FIBERPROF_REASON_NIL_CHANNEL || wait.reason == FIBERPROF_REASON_EMPTY_SELECT;
         });
}

void read_queue(RegistryView& view, ObjectReader& reader, const State& state, ObjectState& object) {
  if (!object.readable()) return;
  const ObjectInfo& info = *object.seen[1];
  const size_t limit = state.fibers.size() + 65'536;
  object.queue.clear();
  object.receivers.clear();
  object.nodes.clear();
  object.foreign = false;
  const auto walk = [&](uint64_t first, std::vector<uint64_t>& ids) {
    bool complete = false;
    for (const WaiterInfo& waiter : reader.waiters(first, limit, &complete)) {
      object.nodes.push_back(waiter.address);
      if (waiter.fiber == 0) {
        object.foreign = true;
        continue;
      }
      uint64_t id = 0;
      const fiberprof_field field = view.layout().where(FIBERPROF_FIELD_fiber_id);
      if (view.memory().read_value(waiter.fiber + field.offset, id) != ReadStatus::ok) complete = false;
      ids.push_back(id);
    }
    return complete;
  };
  object.queue_complete = walk(info.waiters, object.queue);
  if (info.kind == FIBERPROF_OBJECT_CHANNEL)
    object.queue_complete = walk(info.receivers, object.receivers) && object.queue_complete;
}

bool same_wait(const FiberInfo& a, const FiberInfo& b) {
  return b.state == FIBERPROF_FIBER_PARKED && a.switches == b.switches && a.reason == b.reason &&
         a.resource == b.resource && a.context == b.context && a.deadline_ns == b.deadline_ns &&
         a.arms_len == b.arms_len && a.shared == b.shared;
}

// Who is in which queue, looked up many times.
class Queues {
 public:
  explicit Queues(const State& state) : state_(state) {}
  bool hold(const FiberState& fiber);

 private:
  const State& state_;
  std::unordered_map<const std::vector<uint64_t>*, std::unordered_set<uint64_t>> sets_;
};

bool Queues::hold(const FiberState& fiber) {
  return std::all_of(fiber.alternatives.begin(), fiber.alternatives.end(), [&](const Alternative& wait) {
    // The queue of a context holds who waits with any of those derived from it; a join has none.
    if (wait.resource == 0 || object_kind_of(wait.reason) == 0 || wait.reason == FIBERPROF_REASON_CONTEXT) return true;
    const auto found = state_.objects.find(wait.resource);
    if (found == state_.objects.end() || !found->second.readable()) return false;
    const ObjectState& object = found->second;
    const auto& queue = wait.reason == FIBERPROF_REASON_CHAN_RECV ? object.receivers : object.queue;
    const auto [set, fresh] = sets_.try_emplace(&queue);
    if (fresh) set->second.insert(queue.begin(), queue.end());
    return set->second.contains(fiber.info.id);
  });
}

}  // namespace

Result<State> collect_frozen(RegistryView& view) {
  State state;
  state.now_ns = monotonic_ns();
  auto summary = view.summary();
  if (!summary) return tl::unexpected(summary.error());
  state.summary = std::move(*summary);
  if (auto read = read_fibers(view, state); !read) return tl::unexpected(read.error());
  ObjectReader reader(view);
  for (FiberState& fiber : state.fibers) {
    read_alternatives(view, fiber);
    read_objects(reader, fiber, state, 0);
  }
  for (auto& [address, object] : state.objects) {
    object.seen[1] = object.seen[0];
    read_queue(view, reader, state, object);
  }
  Queues queues(state);
  for (FiberState& fiber : state.fibers) fiber.settled = in_question(fiber) && queues.hold(fiber);
  return state;
}

Result<State> collect_live(RegistryView& view) {
  State before, state;
  auto summary = view.summary();
  if (!summary) return tl::unexpected(summary.error());
  state.summary = std::move(*summary);
  if (auto read = read_fibers(view, before); !read) return tl::unexpected(read.error());
  ObjectReader reader(view);
  for (FiberState& fiber : before.fibers) {
    read_alternatives(view, fiber);
    if (in_question(fiber)) read_objects(reader, fiber, state, 0);
  }
  state.now_ns = monotonic_ns();
  if (auto read = read_fibers(view, state); !read) return tl::unexpected(read.error());
  for (FiberState& fiber : state.fibers) {
    const FiberState* first = before.find(fiber.info.id);
    if (first == nullptr || !in_question(*first) || !same_wait(first->info, fiber.info)) continue;
    fiber.alternatives = first->alternatives;
    fiber.settled = true;
    read_objects(reader, fiber, state, 1);
  }
  for (auto& [address, object] : state.objects)
    if (object.readable() && object.seen[1]->kind == FIBERPROF_OBJECT_RWLOCK) read_queue(view, reader, state, object);
  settle_readers(view, reader, state);
  return state;
}

bool confirm_queued(RegistryView& view, State& state, const std::vector<size_t>& fibers) {
  ObjectReader reader(view);
  std::unordered_set<uint64_t> walked;
  for (const size_t index : fibers)
    for (const Alternative& wait : state.fibers[index].alternatives) {
      const auto found = state.objects.find(wait.resource);
      if (found == state.objects.end() || !walked.insert(wait.resource).second) continue;
      if (const auto now = reader.read(wait.resource, object_kind_of(wait.reason)); now && found->second.seen[1]) {
        found->second.seen[1]->waiters = now->waiters;
        found->second.seen[1]->receivers = now->receivers;
      }
      read_queue(view, reader, state, found->second);
    }
  bool any = false;
  Queues queues(state);
  for (const size_t index : fibers) {
    FiberState& fiber = state.fibers[index];
    const auto again = view.again(fiber.info);
    if (again && same_wait(fiber.info, *again) && queues.hold(fiber)) continue;
    fiber.settled = false;
    any = true;
  }
  return any;
}

}  // namespace fiberprof
