// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/collect.h"

#include <fiberprof/registry.h>

#include <algorithm>

#include "deadlock/first_look.h"
#include "deadlock/read_locks.h"
#include "deadlock/waits.h"
#include "session/stopwatch.h"

namespace fiberprof {
namespace {

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

void read_queue(RegistryView& view, ObjectReader& reader, const State& state, ObjectState& object) {
  if (!object.readable()) return;
  const ObjectInfo& info = *object.seen[1];
  const size_t limit = state.total() + 65'536;
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

// Whether it reads a lock, or is about to: what others wait for depends on it, whatever it does.
bool may_hold_reads(const FiberInfo& fiber) {
  return fiber.shared_len != 0 ||
         (fiber.state == FIBERPROF_FIBER_PARKED &&
          (fiber.reason == FIBERPROF_REASON_RWLOCK_READ || fiber.reason == FIBERPROF_REASON_RWLOCK_WRITE));
}

void keep(State& state, FiberState fiber, bool name) {
  if (!name) fiber.info.name.clear();
  state.by_id[fiber.info.id] = state.fibers.size();
  state.fibers.push_back(std::move(fiber));
}

// Takes out those of the first fibers that were not there any more, or not in the same wait.
void leave_out(State& state, const std::vector<char>& there) {
  size_t kept = 0;
  for (size_t i = 0; i < state.fibers.size(); ++i) {
    if (i < there.size() && there[i] == 0) continue;
    if (kept != i) state.fibers[kept] = std::move(state.fibers[i]);
    ++kept;
  }
  state.fibers.resize(kept);
  state.by_id.clear();
  for (size_t i = 0; i < kept; ++i) state.by_id.emplace(state.fibers[i].info.id, i);
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

Result<State> collect_live(RegistryView& view, bool whole) {
  State state;
  auto summary = view.summary();
  if (!summary) return tl::unexpected(summary.error());
  state.summary = std::move(*summary);
  ObjectReader reader(view);
  const auto question = [&](const FiberInfo& info) {
    FiberState fiber{info, {}, false};
    read_alternatives(view, fiber);
    if (in_question(fiber)) keep(state, std::move(fiber), whole);
  };
  {
    FirstLook first(view, reader);
    const auto torn = view.fibers([&](const FiberInfo& info) { whole ? question(info) : first.add(info); }, kMaxSlots);
    if (!torn) return tl::unexpected(torn.error());
    for (const FiberInfo& info : first.left()) question(info);
  }
  // When all of them have been seen to wait, and not before: else who owns an object could have owned it earlier.
  for (const FiberState& fiber : state.fibers) read_objects(reader, fiber, state, 0);

  state.now_ns = monotonic_ns();
  std::vector<char> there(state.fibers.size());
  const auto torn = view.fibers(
      [&](const FiberInfo& info) {
        const auto known = state.by_id.find(info.id);
        if (known != state.by_id.end() && known->second < there.size() &&
            same_wait(state.fibers[known->second].info, info)) {
          FiberState& fiber = state.fibers[known->second];
          there[known->second] = 1;
          fiber.info = info;
          if (!whole) fiber.info.name.clear();
          fiber.settled = true;
        } else if (whole || may_hold_reads(info)) {
          keep(state, {info, {}, false}, whole);
        } else {
          state.others.push_back(info.id);
        }
      },
      kMaxSlots);
  if (!torn) return tl::unexpected(torn.error());
  state.torn += *torn;
  leave_out(state, there);
  std::ranges::sort(state.others);
  for (const FiberState& fiber : state.fibers)
    if (fiber.settled) read_objects(reader, fiber, state, 1);
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
    auto again = view.again(fiber.info);
    if (again && same_wait(fiber.info, *again) && queues.hold(fiber)) {
      fiber.info.name = std::move(again->name);
      continue;
    }
    fiber.settled = false;
    any = true;
  }
  return any;
}

}  // namespace fiberprof
