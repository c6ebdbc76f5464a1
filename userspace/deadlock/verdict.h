// SPDX-License-Identifier: BSD-2-Clause
// What is wrong, told by its causes: of the fibers that will never run again, those that wait for nobody else but each
// other, or for nobody at all. All others are blocked behind them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "deadlock/holdings.h"
#include "deadlock/solver.h"
#include "deadlock/state.h"

namespace fiberprof {

// How sure it is. Never mixed: see DESIGN section 8.
enum class Grade : uint8_t {
  certain,  // who owns, runs and joins: no memory was searched
  proved,   // nobody alive can reach what would end the wait
};

enum class DeadlockKind : uint8_t {
  cycle,   // each waits for the next
  self,    // one fiber waits for what only it could do
  orphan,  // a lock whose holder has ended
  leak,    // nothing that could end the wait is left
};

struct DeadlockCause {
  DeadlockKind kind = DeadlockKind::leak;
  Grade grade = Grade::certain;
  std::vector<size_t> fibers;  // indices in State::fibers; of a cycle, each waits for the next, the last for the first
  std::vector<size_t> behind;  // who is blocked behind them
  uint64_t closed_ns = 0;      // CLOCK_MONOTONIC: when the last of `fibers` parked, to the tick of the runtime's clock
  uint64_t last_moved_ns = 0;  // when the last but one did: between these two the cause came to be
};

struct Verdict {
  std::vector<DeadlockCause> causes;         // those that block most fibers first
  std::vector<size_t> dead;                  // all of them, ascending
  std::vector<std::vector<Enabler>> owners;  // for fibers[dead[i]]: whom it waits for by identity
  Holdings holdings;                         // and by what they hold; of a proof
  bool global = false;                       // no fiber of the program will run again
};

// `grade` is that of every cause. `dead` and the enablers are those of `solver`, whose dead() was called.
// A fiber waits for whoever could end its wait: by identity, and by what is held of the `holdings`. The causes are what
// that graph ends in: those from whom it leads to nobody else.
Verdict explain(const State& state, const Solver& solver, const std::vector<size_t>& dead, Grade grade,
                Holdings holdings = {});

// "2 fibers wait for each other in a cycle".
std::string headline(const DeadlockCause& cause);
// "cycle", …
const char* cause_text(DeadlockKind kind);
const char* grade_text(Grade grade);

}  // namespace fiberprof
