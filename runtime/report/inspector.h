// SPDX-License-Identifier: BSD-2-Clause
// Looks at fibers of this process, as a tool does from outside, and puts what they do into words.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "fiber/leaks.h"
#include "report/symbols.h"
#include "sched/fiber.h"

namespace fiber::detail {

// Whether a slot's fiber has begun and not ended; one that an earlier run abandoned has.
inline bool is_alive(const Fiber* fiber) {
  const std::uint8_t state = __atomic_load_n(&fiber->record.state, __ATOMIC_RELAXED);
  return __atomic_load_n(&fiber->record.id, __ATOMIC_RELAXED) != 0 && state != FIBERPROF_FIBER_FREE &&
         state != FIBERPROF_FIBER_DEAD;
}

// One thread at a time. Fibers may run, wait and end meanwhile: everything beyond a fiber's record, in memory that may
// be gone at any time, is read through the kernel.
class Inspector {
 public:
  Inspector();
  Inspector(const Inspector&) = delete;
  Inspector& operator=(const Inspector&) = delete;
  ~Inspector();

  // Nothing if that slot's fiber has ended, or is another than `id`.
  std::optional<FiberReport> report(const Fiber* fiber, std::uint64_t id);

 private:
  bool read(std::uint64_t address, void* to, std::size_t bytes) const;
  std::string read_text(std::uint64_t address) const;
  std::optional<std::vector<CodeLocation>> stack(const fiberprof_fiber& record);
  std::string waits_for(const fiberprof_fiber& record);
  std::string object(std::uint64_t address, Reason reason);
  std::string fiber_text(std::uint64_t id);
  std::string owner_text(std::uint64_t owner);

  int memory_;
  std::size_t reports_ = 0;
  Symbols symbols_;
  std::unordered_map<std::uint64_t, std::string> names_;  // of all fibers, once one is asked for
};

}  // namespace fiber::detail
