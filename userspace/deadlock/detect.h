// SPDX-License-Identifier: BSD-2-Clause
// The whole of one verdict, from a process to its causes.
#pragma once

#include <string>

#include "deadlock/verdict.h"
#include "process/core_file.h"
#include "support/error.h"

namespace fiberprof {

struct Detection {
  State state;
  Verdict verdict;
  std::string inconclusive;  // why a question was left open; empty: none was
  // Of a proof: how long the process stood still at a time, how much memory was copied and how much of it searched.
  uint64_t stopped_ns = 0, copied = 0, searched = 0;
};

// By identity alone: who owns, reads, runs, is joined; which rights to a channel or context are left at all. The
// process goes on. Sound: a fiber that is reported has nobody left who could wake it.
// `whole`: of every fiber, the state is left for other uses; else of those that matter, which takes less memory.
Result<Detection> detect_certain(RegistryView& view, bool whole = false);

// By what those who live can still reach, in a view of the process that is consistent since it stands still for a
// moment: copied at most `memory_limit` bytes, then it goes on while they are searched. Finds all that detect_certain
// finds, too. Where nothing can be proved, that is what is left, and `inconclusive` says why.
Result<Detection> detect_proved(uint32_t pid, RegistryView& view, uint64_t memory_limit, bool whole = false);

// Both for a core file: what would have been true had its process gone on.
Result<Detection> detect_in_core(const CoreFile& core, RegistryView& view, bool proof, uint64_t memory_limit);

}  // namespace fiberprof
