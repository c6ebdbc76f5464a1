// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/read_locks.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <chrono>
#include <thread>

namespace fiberprof {
namespace {

constexpr auto kPause = std::chrono::milliseconds(2);
constexpr int kPauses = 50;

struct Lock {
  uint64_t address = 0;
  int64_t count = 0;
  uint64_t writer = 0;
  int64_t known = 0;  // readers that are fibers
};

int64_t readers_inside(const ObjectInfo& lock) { return lock.count & 0xffff'ffff; }

// The fiber that waits at the head of the queue, if it wants to write.
const FiberState* writer_in_front(const State& state, const ObjectState& lock) {
  if (lock.queue.empty() || !lock.queue_complete) return nullptr;
  const FiberState* front = state.find(lock.queue.front());
  return front != nullptr && front->settled && front->info.reason == FIBERPROF_REASON_RWLOCK_WRITE ? front : nullptr;
}

// How many read-locks threads that are no fibers hold; nothing if the runtime does not say.
std::optional<uint64_t> held_by_threads(RegistryView& view, uint64_t registry) {
  const fiberprof_field field = view.layout().where(FIBERPROF_FIELD_registry_thread_shared);
  uint64_t count = 0;
  if (field.size != sizeof count || view.memory().read_value(registry + field.offset, count) != ReadStatus::ok)
    return {};
  return count;
}

struct Pass {
  std::vector<FiberInfo> unsettled;  // whoever might be between being let in and saying so
  std::unordered_map<uint64_t, int64_t> holds;
  bool whole = false;  // every fiber was read, and all that it holds is known
};

Pass look(RegistryView& view) {
  Pass pass;
  bool known = true;
  const auto torn = view.fibers(
      [&](const FiberInfo& fiber) {
        // A reader that is being let in may still look parked.
        if (fiber.state != FIBERPROF_FIBER_PARKED || fiber.reason == FIBERPROF_REASON_RWLOCK_READ)
          pass.unsettled.push_back(fiber);
        uint32_t named = 0;
        for (const uint64_t lock : fiber.shared) {
          if (lock == 0) continue;
          ++pass.holds[lock];
          ++named;
        }
        known = known && named == fiber.shared_len;
      },
      kMaxSlots);
  pass.whole = torn && *torn == 0 && known;
  return pass;
}

}  // namespace

void settle_readers(RegistryView& view, ObjectReader& reader, State& state) {
  std::vector<Lock> locks;
  for (const auto& [address, object] : state.objects) {
    if (!object.readable() || object.seen[1]->kind != FIBERPROF_OBJECT_RWLOCK || object.seen[1]->owner != 0) continue;
    const FiberState* writer = writer_in_front(state, object);
    const auto now = reader.read(address, FIBERPROF_OBJECT_RWLOCK);
    if (writer == nullptr || !now || now->owner != 0 || readers_inside(*now) == 0) continue;
    locks.push_back({address, now->count, writer->info.id, 0});
  }
  if (locks.empty() || held_by_threads(view, view.address()) != 0) return;

  Pass pass = look(view);
  std::erase_if(locks, [&](const Lock& lock) { return pass.holds[lock.address] >= (lock.count & 0xffff'ffff); });
  if (locks.empty() || !pass.whole) return;
  const auto parked_behind = [&](const FiberInfo& fiber) {
    // Still in the queue, it has not been let in.
    if (fiber.state != FIBERPROF_FIBER_PARKED) return false;
    const auto lock = state.objects.find(fiber.resource);
    if (lock == state.objects.end() || !lock->second.seen[1]) return false;
    const auto now = reader.read(fiber.resource, FIBERPROF_OBJECT_RWLOCK);
    if (!now) return false;
    for (const WaiterInfo& waiter : reader.waiters(now->waiters, state.total() + 65'536))
      if (waiter.fiber == fiber.slot) return true;
    return false;
  };
  for (int pause = 0; pause < kPauses; ++pause) {
    std::erase_if(pass.unsettled, [&](const FiberInfo& fiber) {
      const auto again = view.again(fiber);
      return !again || again->switches != fiber.switches || parked_behind(*again);
    });
    if (pass.unsettled.empty()) break;
    std::this_thread::sleep_for(kPause);
  }
  if (!pass.unsettled.empty()) return;

  pass = look(view);
  if (!pass.whole || held_by_threads(view, view.address()) != 0) return;
  for (const Lock& lock : locks) {
    const auto now = reader.read(lock.address, FIBERPROF_OBJECT_RWLOCK);
    const FiberState* writer = state.find(lock.writer);
    const auto again = view.again(writer->info);
    if (!now || now->count != lock.count || now->owner != 0 || !again || again->switches != writer->info.switches)
      continue;
    const auto front = reader.waiters(now->waiters, 1);
    if (front.size() != 1 || front[0].fiber != writer->info.slot) continue;
    ObjectState& object = state.objects.at(lock.address);
    object.orphaned = readers_inside(*now) - pass.holds[lock.address];
    object.readers_settled = true;
  }
}

}  // namespace fiberprof
