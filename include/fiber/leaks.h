// SPDX-License-Identifier: BSD-2-Clause
// Fibers that were left behind: which of those spawned since some point have not ended, what they wait for, and where.
// For tests (fiber/gtest_leaks.h has a listener for GoogleTest) and for programs that check themselves.
//
// Two kinds of leaks are told apart by when they can be seen:
//   - Within a run: take a LeakMark, do something, and find_leaks() what is still there that was not there before.
//   - At the end of a run, when the main fiber has returned, whatever has not ended never will: it is abandoned where
//   it
//     stands. set_leak_hook() has a function called with all of that.
// A fiber may be about to end while it is looked for: it was told to stop and has not run since. Hence the grace
// period.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "fiber/config.h"

namespace fiber {

// A place in the program's code.
struct CodeLocation {
  const void* address = nullptr;  // null: not known. Of a caller, the address it is returned to.
  // "function+0x12 (program)", demangled, by the symbol table of the file; without one "0x1234 (program)", with an
  // offset in the file for addr2line and its like.
  std::string text;
};

// What one fiber was doing at the moment it was looked at. A copy: it stays valid whatever becomes of the fiber.
struct FiberReport {
  std::uint64_t id = 0;
  std::string name;          // empty: it was given none
  std::string state;         // "runnable", "running", "parked" or "blocking": inside a blocking section
  std::string reason;        // parked: "mutex", "chan receive", "sleep" and so on; else empty
  std::uint64_t object = 0;  // parked: address of what it waits for; of io the descriptor, of join a fiber's id
  std::string waits_for;     // parked: that in words, with names and owners: mutex "a" (0x1000), held by fiber 3
  std::chrono::nanoseconds since{};  // how long it has been in this state, to within 100 ms
  std::uint64_t parent = 0;          // id of the fiber that spawned it; 0: a thread that is no fiber
  CodeLocation function;             // the function it runs; a lambda's own operator()
  CodeLocation spawned_at;
  // From the innermost frame outwards, at most 64. Empty if it is running or inside a blocking section: then it is in
  // the middle of something. Of many fibers only the first 1000 have one.
  std::vector<CodeLocation> stack;
};

// The fibers that were alive at one moment. Any thread; 8 bytes for each fiber.
class FIBER_API LeakMark {
 public:
  LeakMark();  // now
  bool contains(std::uint64_t fiber_id) const;

 private:
  std::vector<std::uint64_t> alive_;  // sorted ids
};

// Fibers that were not alive at the mark and still are when the grace period is over, by id; returns as soon as there
// are none. Does not count the caller. Whoever spawned them: what other fibers do meanwhile is seen, too. Called by a
// fiber it parks; a thread that is no fiber sleeps. Nothing is found when no runtime runs.
// Looks at every fiber there is about every 10 ms while it waits, and reads symbol tables only if something is left.
FIBER_API std::vector<FiberReport> find_leaks(const LeakMark& since, std::chrono::nanoseconds grace);

// One fiber, or the first 100 and how many more, as text of several lines: what it waits for, where it was spawned, and
// its stack without the frames of the runtime.
FIBER_API std::string to_text(const FiberReport& fiber);
FIBER_API std::string to_text(const std::vector<FiberReport>& fibers);

// Called at the end of each fiber::run with the fibers that had not ended, on the thread that called it, just before it
// returns: no runtime runs then. Also called when there were none.
using LeakHook = std::function<void(const std::vector<FiberReport>& left)>;

// From now on, and for a run in progress too, unless its main fiber has returned. An empty hook turns it off, which is
// how it is at first, and costs nothing. Any thread. The main fiber waits up to `grace` (0 to an hour) for the others
// to end before it ends itself, after the function given to fiber::run has returned: so they may run longer than
// without a hook, and what they use of that function's variables is gone.
FIBER_API void set_leak_hook(LeakHook hook, std::chrono::nanoseconds grace = std::chrono::milliseconds(500));

}  // namespace fiber
