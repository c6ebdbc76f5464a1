// SPDX-License-Identifier: BSD-2-Clause
// The memory of a process on fibers, put together by hand at addresses of our choosing: what fuzzing begins with.
#pragma once

#include <fiberprof/registry.h>

#include <climits>
#include <cstdint>
#include <cstring>
#include <string>

#include "process/fixtures/hand_core.h"
#include "process/fixtures/hand_registry.h"

namespace fiberprof::test {

// Memory from kBase on; the registry comes first.
class Image {
 public:
  static constexpr uint64_t kBase = 0x100000;

  Image() {
    fiberprof_registry registry{};
    fixture::describe(registry);
    const uint64_t registry_at = place(registry);
    for (uint64_t id = 1; id <= 24; ++id) add_fiber(id);
    const uint64_t slab = place_all(fibers_);
    registry.fibers_per_slab = 12;
    const uint64_t slabs[] = {slab, slab + 12 * sizeof(fiberprof_fiber)};
    registry.fiber_slabs = place(slabs);
    registry.fiber_slab_count = 2;
    registry.fibers_created = 24;
    fiberprof_processor processor{};
    processor.state = FIBERPROF_PROCESSOR_RUNNING;
    const uint64_t processors[] = {place(processor)};
    registry.processors = place(processors);
    registry.processor_count = 1;
    fiberprof_worker worker{};
    worker.tid = 77;
    worker.current_fiber = 3;
    worker.fiber = slab + 2 * sizeof(fiberprof_fiber);
    const uint64_t workers[] = {place(worker)};
    registry.workers = place(workers);
    registry.worker_count = 1;
    registry.clock_ns = 10'000'000'000;
    registry.start_ns = 1'000;
    std::memcpy(bytes_.data() + (registry_at - kBase), &registry, sizeof registry);
  }

  const std::string& bytes() const { return bytes_; }

  // The same as a core file: two threads, one of them on a fiber.
  std::string core() const {
    fixture::HandCore core;
    core.threads.resize(2);
    core.threads[0].pr_pid = 77;
    core.threads[1].pr_pid = 78;
    core.process.pr_pid = 77;
    std::strcpy(core.process.pr_fname, "image");
    core.auxv = {{3, 0x40}, {9, 0x400000}, {25, kBase}};
    core.files = {{0x400000, 0x401000, 0, "/bin/true"}, {0x401000, 0x402000, 0x1000, "/gone"}};
    core.segments.push_back({0x400000, "", 0x1000, PF_R | PF_X});
    core.memory(kBase, bytes_);
    return core.bytes();
  }

 private:
  template <class T>
  uint64_t place(const T& value) {
    bytes_.resize((bytes_.size() + 15) / 16 * 16);
    const uint64_t at = kBase + bytes_.size();
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return at;
  }
  uint64_t place_all(const std::vector<fiberprof_fiber>& fibers) {
    uint64_t first = 0;
    for (const fiberprof_fiber& fiber : fibers) {
      const uint64_t at = place(fiber);
      if (first == 0) first = at;
    }
    return first;
  }

  uint64_t object(uint8_t reason) {
    static constexpr char kName[16] = "an object";
    const auto fill = [&](fiberprof_object& object, uint32_t kind) {
      object.kind = kind;
      object.owner = 1 + kind % 3;
      object.count = 1;
      object.name = place(kName);
    };
    switch (reason) {
      case FIBERPROF_REASON_CHAN_SEND:
      case FIBERPROF_REASON_CHAN_RECV: {
        fiberprof_channel channel{};
        fill(channel.object, FIBERPROF_OBJECT_CHANNEL);
        channel.length = channel.capacity = 2;
        channel.send_rights = channel.receive_rights = 1;
        channel.creator_pc = 0x400123;
        return place(channel);
      }
      case FIBERPROF_REASON_CONTEXT: {
        fiberprof_context context{};
        fill(context.object, FIBERPROF_OBJECT_CONTEXT);
        context.deadline = INT64_MAX;
        return place(context);
      }
      case FIBERPROF_REASON_MUTEX:
      case FIBERPROF_REASON_RWLOCK_READ:
      case FIBERPROF_REASON_RWLOCK_WRITE:
      case FIBERPROF_REASON_CONDITION:
      case FIBERPROF_REASON_ONCE: {
        static constexpr uint32_t kKinds[] = {FIBERPROF_OBJECT_MUTEX, FIBERPROF_OBJECT_RWLOCK, FIBERPROF_OBJECT_RWLOCK,
                                              FIBERPROF_OBJECT_CONDITION};
        fiberprof_object plain{};
        fill(plain, reason == FIBERPROF_REASON_ONCE ? uint32_t{FIBERPROF_OBJECT_ONCE}
                                                    : kKinds[reason - FIBERPROF_REASON_MUTEX]);
        return place(plain);
      }
      case FIBERPROF_REASON_WAIT_GROUP: {
        fiberprof_wait_group group{};
        fill(group.object, FIBERPROF_OBJECT_WAIT_GROUP);
        return place(group);
      }
      case FIBERPROF_REASON_SEMAPHORE: {
        fiberprof_semaphore semaphore{};
        fill(semaphore.object, FIBERPROF_OBJECT_SEMAPHORE);
        return place(semaphore);
      }
      case FIBERPROF_REASON_BARRIER: {
        fiberprof_barrier barrier{};
        fill(barrier.object, FIBERPROF_OBJECT_BARRIER);
        return place(barrier);
      }
      default:
        return reason == FIBERPROF_REASON_JOIN ? 5 : 0;
    }
  }

  // Fiber 3 runs, fiber 4 is runnable, the others wait, one for each reason in turn.
  void add_fiber(uint64_t id) {
    fiberprof_fiber fiber{};
    fiber.id = id;
    fiber.sequence = 2;
    fiber.state = id == 3 ? FIBERPROF_FIBER_RUNNING : id == 4 ? FIBERPROF_FIBER_RUNNABLE : FIBERPROF_FIBER_PARKED;
    if (fiber.state == FIBERPROF_FIBER_PARKED)
      fiber.reason = static_cast<uint8_t>(1 + id % (FIBERPROF_REASON_COUNT - 1));
    fiber.resource = object(fiber.reason);
    if (fiber.reason == FIBERPROF_REASON_SELECT) {
      const fiberprof_arm arms[] = {{object(FIBERPROF_REASON_CHAN_RECV), FIBERPROF_REASON_CHAN_RECV, 0},
                                    {object(FIBERPROF_REASON_CHAN_SEND), FIBERPROF_REASON_CHAN_SEND, 0}};
      fiber.arms = place(arms);
      fiber.arms_len = 2;
    }
    fiber.since = 1'000'000'000 * id / 4;
    fiber.deadline = id % 2 == 0 ? 20'000'000'000 : 0;
    fiber.switches = id;
    fiber.parent = id / 2;
    fiber.entry = 0x400100;
    fiber.creator_pc = 0x400200;
    std::snprintf(fiber.name, sizeof fiber.name, "fiber %d", static_cast<int>(id));
    // Three frame records, each pointing at the next.
    uint64_t stack[64] = {};
    bytes_.resize((bytes_.size() + 15) / 16 * 16);
    const uint64_t at = kBase + bytes_.size();
    stack[0] = at + 16 * 8;
    stack[1] = 0x400300;
    stack[16] = at + 40 * 8;
    stack[17] = 0x400400 + id % 3;
    stack[40] = 0;
    stack[41] = 0x400500;
    fiber.stack_low = fiber.sp = place(stack);
    fiber.stack_high = fiber.stack_low + sizeof stack;
    if (id == 3) fiber.sp = 0;
    fibers_.push_back(fiber);
  }

  std::string bytes_;
  std::vector<fiberprof_fiber> fibers_;
};

}  // namespace fiberprof::test
