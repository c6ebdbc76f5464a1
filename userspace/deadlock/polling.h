// SPDX-License-Identifier: BSD-2-Clause
// Looks at fibers that poll channels in vain: how much of their time on a processor goes into that.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "deadlock/suspicious.h"
#include "process/registry_view.h"

namespace fiberprof {

// What the code at an address is, all that was inlined there included.
enum class CodeKind : uint8_t {
  program,
  library,  // of the runtime or the system, and nothing of the program
  moves,    // library: the operation that moves a value, unlike a poll
  yields,   // library: lets others run, and does nothing else
};
using CodeKindOf = std::function<CodeKind(uint64_t)>;

// Where a fiber was on its processor.
struct PollLook {
  std::vector<uint64_t> frames;  // return addresses, innermost first; before them the next instruction's address plus
                                 // 1, which is taken for one, too
  std::vector<uint64_t> top;     // words at the stack pointer: where a function that has just begun returns to
};

// Fills in what is known from these looks. `places`: where polls in vain were seen to return to.
//
// A look is inside the poll if the first frame of the program's own, from the inside, is one that polls. Work in a
// select's default arm is not: it is the program's.
void count_looks(const std::vector<PollLook>& looks, const std::set<uint64_t>& places, const CodeKindOf& kind_of,
                 Polling& polling);

class PollLooks {
 public:
  // `view` must outlive it. `pid` 0: of a core file, where nothing moves and nothing is found.
  PollLooks(RegistryView& view, uint32_t pid, CodeKindOf kind_of);

  // Those that have polled in vain for `older_ns` or longer, some of each place. Takes a moment if there are any, in
  // which a thread that runs one of them is stopped for microseconds, some twenty to a hundred times; the other threads
  // go on.
  std::vector<Polling> look(const State& state, uint64_t now_ns, uint64_t older_ns);

 private:
  struct Account {
    uint64_t polls = 0, of = 0, since_ns = 0, at = 0;
  };
  struct Watched {
    FiberInfo fiber;
    Account first;
    Polling polling;
    std::vector<PollLook> looks;
    std::set<uint64_t> places;
    std::string ran;  // the account of its thread's processor time at the last look
    bool enough = false;
  };

  std::vector<Account> accounts(std::span<const FiberInfo> fibers);
  std::vector<Watched> choose(const State& state, uint64_t now_ns, uint64_t older_ns);
  void look_once(Watched& watched);

  RegistryView& view_;
  uint32_t pid_;
  CodeKindOf kind_of_;
  std::map<uint64_t, CodeKind> kinds_;    // by address
  std::map<uint32_t, uint32_t> threads_;  // by tid, as the process sees it
  std::map<uint64_t, Polling> known_;     // by fiber id: those that spun when last looked at
};

}  // namespace fiberprof
