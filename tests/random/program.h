// SPDX-License-Identifier: BSD-2-Clause
// Random programs over all primitives, checked against what a sequential model would allow. A program terminates by
// design, whatever the schedule:
//
//   - every channel has a drainer, which receives until the channel is closed and does nothing else, and a closer,
//     which closes it when all that may send on it have ended: so every send ends;
//   - an actor of level L sends on channels from L on, and waits without limit only for values of channels below L: by
//     induction from channel 0 every channel is closed one day, so every receive ends;
//   - locks are taken in the order of their numbers, and whoever holds one waits only for sends, for higher locks and
//     for time;
//   - conditions are notified until everybody has ended; parents wait for their children, who have the same level.
//
// So a program that hangs has met a bug.
#pragma once

#include <cstdint>
#include <string>

namespace random_program {

struct Outcome {
  std::string wrong;  // one line each; empty: nothing
  std::uint64_t operations = 0;
};

// Runs the program of that seed in a runtime of its own, with so many processors.
Outcome run_program(std::uint64_t seed, unsigned processors);

}  // namespace random_program
