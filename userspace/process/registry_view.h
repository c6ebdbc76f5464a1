// SPDX-License-Identifier: BSD-2-Clause
// The registry (include/fiberprof/registry.h) of a live process, read from outside without stopping it. The process
// is hostile input: every count is bounded, every read may fail, torn entries are skipped and counted.
#pragma once

#include <fiberprof/registry.h>

#include <array>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "process/registry_layout.h"
#include "process/target_memory.h"
#include "support/error.h"

namespace fiberprof {

struct FiberInfo {
  uint64_t id = 0;
  uint8_t state = 0, reason = 0;
  uint64_t resource = 0, since_ns = 0;
  uint64_t sp = 0;  // 0: no stack to walk; it runs, or ran while it was read
  uint64_t switches = 0;
  uint64_t slot = 0;  // address of its struct fiberprof_fiber
  uint32_t processor = 0, worker = 0;
  uint64_t stack_low = 0, stack_high = 0, entry = 0, creator_pc = 0, parent = 0;
  uint64_t deadline_ns = 0;  // while parked: CLOCK_MONOTONIC, when the wait ends by itself; 0: never
  uint64_t context = 0;      // while parked: address of the context whose cancellation ends the wait; 0: none
  uint64_t arms = 0;         // select: address of its arms, see RegistryView::arms
  uint32_t arms_len = 0;
  uint32_t shared_len = 0;                              // how many times it holds a rwlock for reading
  std::array<uint64_t, FIBERPROF_SHARED_MAX> shared{};  // addresses of those rwlocks; 0: none
  std::string name;
};

// One arm of a select that waits.
struct ArmInfo {
  uint64_t resource = 0;  // address of the channel; 0: the nil channel
  uint32_t reason = 0;    // FIBERPROF_REASON_CHAN_SEND or CHAN_RECV
};

// What is enough to count fibers by what they do.
struct FiberGlance {
  uint8_t state = 0, reason = 0;
  uint64_t since_ns = 0, entry = 0;
  uint64_t deadline_ns = 0;  // of a parked fiber; 0: it waits for as long as it takes
};

struct WorkerInfo {
  uint32_t tid = 0;     // as the process sees it
  uint64_t record = 0;  // address of its struct fiberprof_worker
  uint32_t processor = 0;
  uint64_t current_fiber = 0, fiber_entry = 0;
  uint64_t fiber = 0;      // address of that fiber's struct fiberprof_fiber; 0: none, or its runtime does not say
  uint64_t stack_top = 0;  // see fiberprof_worker
  bool idle = false;
};

struct ProcessorInfo {
  uint32_t index = 0, state = 0, worker = 0, queue_depth = 0;
  uint64_t current_fiber = 0, switches = 0, steals = 0;
  std::vector<uint64_t> parks;  // by reason
};

struct RegistrySummary {
  uint64_t clock_ns = 0, fibers_created = 0, global_queue_depth = 0, start_ns = 0;
  std::vector<ProcessorInfo> processors;
  std::vector<WorkerInfo> workers;
};

class RegistryView {
 public:
  // `address` is the registry's address in the process (found by elf/ from the note, plus the load bias).
  // Errors: process gone, no permission, wrong magic or version, sizes that cannot be.
  static Result<std::unique_ptr<RegistryView>> open(uint32_t pid, uint64_t address);
  // The same over any memory (a core file, a test).
  static Result<std::unique_ptr<RegistryView>> open(std::unique_ptr<TargetMemory> memory, uint64_t address);
  virtual ~RegistryView() = default;
  virtual Result<RegistrySummary> summary() = 0;
  // Calls `visit` for each live fiber (not free, not dead); stops at `limit` fibers. Returns the number of torn
  // entries that were skipped.
  virtual Result<uint64_t> fibers(const std::function<void(const FiberInfo&)>& visit, uint64_t limit) = 0;
  // The same at a third of the price: each slot is read once, so that of a fiber that is just switching the fields may
  // be of different moments. Returns how many were skipped because they were being rewritten.
  virtual Result<uint64_t> glance(const std::function<void(const FiberGlance&)>& visit, uint64_t limit) = 0;
  // Return addresses of a fiber that is off its processor, innermost first, by frame pointers from its saved sp.
  // Empty when it ran meanwhile.
  virtual std::vector<uint64_t> stack(const FiberInfo& fiber, size_t max_frames = 128) = 0;
  // The arms of a fiber's select, in order; empty when they cannot be read, or there are none. As torn as any read of a
  // fiber that may run: believe them only if its `switches` are the same afterwards.
  virtual std::vector<ArmInfo> arms(const FiberInfo& fiber) = 0;
  // One fiber again, by FiberInfo::slot; nothing if that slot now holds another or none, or is being rewritten.
  virtual std::optional<FiberInfo> again(const FiberInfo& fiber) = 0;
  // How the target describes its structures, as last read; and its memory. Both live as long as the view.
  virtual const RegistryLayout& layout() const = 0;
  virtual TargetMemory& memory() = 0;
  // Of the registry itself.
  virtual uint64_t address() const = 0;
};

}  // namespace fiberprof
