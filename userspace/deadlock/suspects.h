// SPDX-License-Identifier: BSD-2-Clause
// Reads what suspicions are made from: stacks, and the contexts that are on them.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "deadlock/polling.h"
#include "deadlock/suspicious.h"
#include "dump/stack_table.h"
#include "process/objects.h"

namespace fiberprof {

struct Suspicions {
  std::vector<Suspicion> found;
  uint64_t older_ns = 0;
  uint64_t looks = 0;  // there were so far: with fewer than Growth::kLooks nothing can be said about growth
};

class Suspects {
 public:
  // Numbers stacks so that those that are to be one have one number, not 0.
  using NumberStack = std::function<uint32_t(std::span<const uint64_t>)>;
  // `view` must outlive it. `pid` 0: of a core file.
  Suspects(RegistryView& view, uint32_t pid, uint64_t older_ns, NumberStack number, CodeKindOf kind_of)
      : view_(view), older_ns_(older_ns), number_(std::move(number)), polls_(view, pid, std::move(kind_of)) {}

  // For what grows only.
  void glance(const State& state, uint64_t now_ns);
  // A look, and everything that is suspicious now. `proved`: indices in `state` of fibers known never to run again,
  // ascending. `state` may be some time old: of fibers that ran since, the stack is not known.
  Suspicions look(const State& state, uint64_t now_ns, const std::vector<size_t>& proved);

 private:
  SuspectLook read(const State& state, uint64_t now_ns);
  std::vector<Suspicion> ignoring(const SuspectLook& look);
  bool ignores_cancel(const FiberInfo& fiber, uint64_t now_ns);
  bool above(uint64_t context, uint64_t lower);
  bool cancelled(const ObjectInfo& context, uint64_t now_ns);

  RegistryView& view_;
  uint64_t older_ns_;
  NumberStack number_;
  PollLooks polls_;
  StackTable raw_;
  std::vector<uint32_t> numbers_;  // by number in raw_; 0: none yet
  Growth growth_;
  uint64_t looks_ = 0;
};

}  // namespace fiberprof
