// SPDX-License-Identifier: BSD-2-Clause
// What looks wrong by age and count, and may be right: evidence that may say "suspicious", never "deadlock".
//
// Functions of what was read (state.h) and of nothing else; suspects.h does the reading.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <unordered_map>
#include <vector>

#include "deadlock/state.h"

namespace fiberprof {

enum class SuspicionKind : uint8_t {
  spins,            // polls channels all the time without ever moving a value
  old_wait,         // waits for longer than anybody should, by equal stack and reason
  ignores_cancel,   // waits without a context that it has on its stack and that is cancelled
  outlives_parent,  // waits since long, and who spawned it has ended; by spawn site
  grows,            // a spawn site of which more are alive at every look
  deadlines,        // a stack at which more wait with a deadline at every look
};

struct Suspicion {
  static constexpr size_t kExamples = 3;
  struct Example {
    size_t fiber = 0;  // index in State::fibers
    uint64_t age_ns = 0;
  };

  SuspicionKind kind = SuspicionKind::old_wait;
  uint64_t count = 0, oldest_ns = 0;
  uint8_t reason = 0;             // all have it; 0: by spawn site
  uint32_t stack = 0;             // number of the stack that all have; 0: by spawn site
  uint64_t site = 0;              // code address where they were spawned; 0: by stack
  std::vector<Example> examples;  // the oldest first; at most kExamples
  uint64_t checked = 0;           // ignores_cancel, spins: how many were looked into, `count` of them so
  std::vector<uint64_t> seen;     // grows, deadlines: how many there were at each look
  uint64_t polls = 0, in_ns = 0;  // spins: how many moved nothing in that time, all fibers together

  void add(size_t fiber, uint64_t age_ns);
};

// A fiber whose polls have moved nothing since long, looked at again and again for a moment.
//
// That alone is no fault: a worker that asks after each item whether it is to stop polls in vain for ever, too. Nor
// does the number of polls tell, for items may be short. What tells is where its time goes. A fiber spins if
//   - in the whole time since then it has neither waited nor moved a value by a poll,
//   - most of the looks that found it on a processor found it inside the very poll (a yield counts neither way), and
//   - none of them found it in an operation that moves values.
// So whoever spends more time on something else than on asking in vain does not spin.
struct Polling {
  size_t fiber = 0;                  // index in State::fibers
  uint64_t since_ns = 0;             // of the first poll since which all moved nothing
  uint64_t at = 0;                   // code address: where the polls return to
  uint32_t stack = 0;                // number of the stack from there outward; 0: not known
  std::vector<uint64_t> frames;      // that stack
  uint64_t polls = 0, in_ns = 0;     // while it was looked at: how many moved nothing, in what time
  uint32_t inside = 0, outside = 0;  // looks that found it in the poll, and in anything else but a yield
  bool moved = false;                // it waited, moved a value or ended meanwhile

  static constexpr uint32_t kLeastInside = 8;
  bool spins() const { return !moved && polls >= inside && inside >= kLeastInside && inside > outside; }
};

// One look at a process.
struct SuspectLook {
  const State& state;
  std::vector<uint32_t> stacks;  // by index in State::fibers: numbers, equal for equal stacks; 0: not known
  uint64_t now_ns = 0, older_ns = 0;
  std::vector<size_t> proved;    // indices of fibers that are known never to run again, ascending
  std::vector<Polling> polling;  // those that poll in vain

  uint64_t age(size_t fiber) const {
    const uint64_t since = state.fibers[fiber].info.since_ns;
    return since < now_ns ? now_ns - since : 0;
  }
  // Parked for longer than `older_ns`.
  bool old(size_t fiber) const;
};

// By the place of the poll.
std::vector<Suspicion> spinning(const SuspectLook& look);

// Largest groups first. What is waited for decides what its age says.
//   - Never among them: those proved, and waits that end by themselves or last as long as there is nothing to do:
//   sleep,
//     accept, reading (a connection may be silent), the end of a context, any with a deadline or on a channel with an
//     armed timer; joins and wait groups, for those waited for are what is odd.
//   - Waits for work, which are receives on a channel that somebody may send on, conditions, and selects with such an
//     arm: a listener, or a pool of workers, waits for hours in good health. So these only where they look like what
//     one request after the other leaves behind: at one stack at least kLeftBehind different objects, since times that
//     differ by the age in question, none of which has served somebody lately, and not waiting together with a parent
//     that reads from a connection.
//   - All others: nobody should wait for so long for a lock, a permit, room in a channel, or to write.
inline constexpr size_t kLeftBehind = 10;
std::vector<Suspicion> old_waits(const SuspectLook& look);

// Nothing where fibers could not be read: any of them could be a parent.
std::vector<Suspicion> outliving(const SuspectLook& look);

// From look to look.
class Growth {
 public:
  static constexpr size_t kLooks = 5;
  static constexpr uint64_t kLeast = 20;  // fibers more, and at least a tenth more, from the first to the last of them

  void look(const SuspectLook& look);
  // What rose at every one of the last kLooks looks; the largest rise first. `look`: the last one.
  std::vector<Suspicion> found(const SuspectLook& look) const;

 private:
  using Counts = std::unordered_map<uint64_t, uint64_t>;  // by spawn site, or by number of a stack
  std::vector<Suspicion> risen(const SuspectLook& look, SuspicionKind kind) const;
  std::deque<std::map<SuspicionKind, Counts>> looks_;
};

// "old wait", …
const char* suspicion_text(SuspicionKind kind);

}  // namespace fiberprof
