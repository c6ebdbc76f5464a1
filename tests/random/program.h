// SPDX-License-Identifier: BSD-2-Clause
// Random programs over all primitives, checked against what a sequential model would allow. A program terminates by
// design, whatever the schedule:
//
//   - every channel has a drainer, which receives until the channel is closed and does nothing else, and a closer,
//     which closes it when all that may send on it have ended: so every send ends;
//   - an actor of level L sends on channels from L on, and waits without limit only for values of channels below L: by
//     induction from channel 0 every channel is closed one day, so every receive ends;
//   - mutexes, reader-writer locks and semaphores are taken in the order of their numbers, and whoever holds one waits
//     only for sends, for those behind it, for a once and for time;
//   - a once's function waits only for time; it throws a few times at most;
//   - conditions are notified until everybody has ended; parents wait for their children, who have the same level, and
//     children who meet at a barrier all come to it as often.
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

struct Where {
  unsigned processors = 1;
  // The schedule too is determined by the program's seed, and the time is simulated (fiber::Options::seed).
  bool seeded = false;
};

// Runs the program of that seed in a runtime of its own.
Outcome run_program(std::uint64_t seed, const Where& where);

}  // namespace random_program
