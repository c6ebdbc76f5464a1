// SPDX-License-Identifier: BSD-2-Clause
// What `fiberprof top` knows at one moment, as plain data: the fibers' states, the processors' queues, the stacks that
// blocked most and what the workers waited for in the kernel. Views (text, screen, JSON) only draw it.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "process/registry_view.h"
#include "render/account.h"
#include "render/entry_rows.h"
#include "render/shown_stacks.h"
#include "session/delays.h"
#include "session/snapshot.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

struct ParkedFibers {
  std::string reason;
  uint64_t count = 0;
  uint64_t oldest_ns = 0;  // how long the one parked longest has been so
};

// Waits of parked fibers so far, counted from the attach at the earliest.
struct OpenWaitSum {
  uint64_t entry = 0;  // spawned function; 0: the main fiber
  uint8_t reason = 0;  // FIBERPROF_REASON_*
  uint64_t total_ns = 0;
};

// How many fibers are in which state right now, from the registry.
struct FiberCensus {
  uint64_t running = 0, runnable = 0, blocking = 0, parked = 0, torn = 0;
  std::vector<ParkedFibers> parked_by;  // most first
  uint64_t endless = 0;                 // of the parked ones, those without a deadline
  std::vector<OpenWaitSum> open;        // one for each function and reason
  bool complete = true;                 // false: there were more fibers than were looked at
  uint64_t total() const { return running + runnable + blocking + parked; }
  // Whether any fiber may never run again: who has a deadline will.
  bool may_be_deadlocked() const { return endless != 0 || !complete || torn != 0; }
};

// Counts fibers; torn entries are not counted as fibers. `clock_ns`: the process's coarse clock; waits count from
// `attached_ns`. Errors as RegistryView::fibers.
Result<FiberCensus> take_census(RegistryView& registry, uint64_t clock_ns, uint64_t attached_ns, uint64_t limit);

struct TopStack {
  uint64_t key = 0;  // the same stack keeps its key from one refresh to the next; never 0
  std::string reason;
  uint32_t pid = 0;
  uint64_t count = 0, total_ns = 0, queued_ns = 0;  // within the interval; weighted when sampled
  uint64_t max_ns = 0;                              // longest since the session (or reset) began
  std::shared_ptr<const ShownStack> shown;          // never null; without frames when grouped by reason
  uint32_t first_change = 0, changes = 0;           // of TopModel::changes
  uint64_t mean_ns() const { return count == 0 ? 0 : total_ns / count; }
};

// What worker threads waited for in the kernel.
struct TopKernelWait {
  std::string cause;  // "futex wait", "preempted", "fsync (disk)"
  bool on_fiber = false;
  uint64_t count = 0, total_ns = 0, max_ns = 0;
  std::string function;  // the program's function on the worker; the fiber's entry when the stack has none
  std::shared_ptr<const ShownStack> shown;  // the user stack, never null; without frames when `on_fiber` is not
};

struct TopProcessor {
  uint32_t pid = 0, index = 0;
  std::string state;
  uint64_t depth = 0;           // now
  double mean_depth = 0;        // over the interval, from the monitor's ticks
  uint64_t max_depth = 0;       // since the session began
  double idle = 0;              // share of the interval's ticks
  std::vector<double> history;  // mean depth of past intervals, oldest first
};

// Worker threads in the kernel's scheduler.
struct TopWorkers {
  uint64_t on_cpu_ns = 0, runnable_ns = 0;  // within the interval
  uint64_t samples = 0, fiber_samples = 0;
  std::vector<uint64_t> runnable;  // histogram: how long from wake-up or preemption to a CPU
  uint64_t max_runnable_ns = 0;    // longest since the session began
};

// Fibers that will never run again (deadlock/detect.h).
struct TopDeadlock {
  uint64_t fibers = 0, causes = 0;
  std::string largest;  // of the causes, in words
};

struct TopModel {
  std::string process;
  uint32_t pid = 0;
  bool exact = false;
  bool ended = false;  // the process is gone
  TopDeadlock deadlock;
  uint64_t interval_ns = 0;           // what the numbers below cover
  uint64_t watched_ns = 0;            // since the session (or reset) began
  bool since_start = false;           // interval_ns is all of watched_ns
  std::optional<FiberCensus> fibers;  // none: the process has no readable registry
  bool fibers_awaited = false;        // it has, but they have not been counted yet
  uint64_t fibers_age_ns = 0;         // how long before the end of the interval they were counted
  uint64_t fibers_created = 0;        // within the interval
  uint64_t global_queue = 0;
  std::vector<TopProcessor> processors;
  std::vector<TopStack> stacks;  // longest total first
  // What the stacks' histograms are the difference of, made only for those that are looked at.
  std::vector<std::pair<const BlockedEntry*, const BlockedEntry*>> changes;  // now and before
  std::shared_ptr<const Snapshot> now, before;                               // which they are in
  std::vector<uint64_t> histogram(const TopStack& stack) const;              // within the interval
  uint64_t blocked_ns = 0, queued_ns = 0, waits = 0;
  Account account;
  uint64_t account_ns = 0;            // the interval it covers
  DelayPercentiles delays;            // of queued fibers after a wait, within the interval
  uint64_t steals = 0;                // within the interval
  std::vector<TopKernelWait> kernel;  // those of fibers first, longest first; idleness is not in it
  uint64_t idle_ns = 0;               // workers without a fiber, asleep: healthy
  TopWorkers workers;
  uint64_t handoffs = 0, overruns = 0, worker_starts = 0;
  Losses losses;  // since the session began
};

// Turns successive snapshots into models. Keeps the first and the last one seen.
class TopBuilder {
 public:
  enum class Group : uint8_t { stack, reason };

  TopBuilder(uint32_t pid, std::string process, bool exact) : pid_(pid), process_(std::move(process)), exact_(exact) {}

  // Takes in a new snapshot and what the registry said at the same time. Without a census the last one stays, and so
  // does the account, which needs one at either end of what it covers.
  void update(Snapshot snapshot, std::optional<RegistrySummary> summary, std::optional<FiberCensus> census);
  // Begins to count anew; the longest waits and the history of queues too.
  void reset();
  // What happened between the last two snapshots, or with `since_start` since the first (or the reset).
  TopModel model(const Symbolize& symbolize, Group group, bool since_start) const;

 private:
  using Shared = std::shared_ptr<const Snapshot>;
  struct History {
    std::deque<double> means;
  };
  void add_stacks(TopModel& model, const Snapshot& base, const Symbolize& symbolize,
                  Group group) const;  // top_stacks.cpp
  void add_workers(TopModel& model, const Snapshot& base) const;
  void add_kernel(TopModel& model, const Snapshot& base, const Symbolize& symbolize) const;
  void add_account(TopModel& model, const Symbolize& symbolize, bool since_start) const;  // top_account.cpp
  void add_delays(TopModel& model, const Snapshot& base) const;
  void add_processors(TopModel& model, const Snapshot& base) const;
  const Shared& base(bool since_start) const;

  uint32_t pid_;
  std::string process_;
  bool exact_;
  Shared first_, previous_, latest_ = std::make_shared<Snapshot>();
  std::optional<RegistrySummary> first_summary_, previous_summary_, summary_;
  std::optional<FiberCensus> census_;
  uint64_t census_ns_ = 0;  // when it was taken: the time of that snapshot
  // What an account is the difference of.
  struct AccountPoint {
    Shared snapshot;
    std::vector<OpenWaitSum> open;
  };
  const std::string& spawned_name(uint32_t pid, uint64_t entry, const Symbolize& symbolize) const;
  mutable ShownStacks shown_;
  mutable EntryRows rows_;
  mutable std::map<std::pair<uint32_t, uint64_t>, std::string> entries_;  // names of spawned functions
  AccountPoint account_first_, account_previous_, account_latest_;
  // The last account made: it stays the same until one of its ends is another.
  struct KnownAccount {
    uint64_t points = 0;  // points_ when it was made; 0: none was
    bool since_start = false;
    Account account;
  };
  uint64_t points_ = 1;  // changes with account_first_, _previous_ and _latest_
  mutable KnownAccount known_account_;
  std::map<std::pair<uint32_t, uint32_t>, History> history_;  // by pid, processor
};

// One JSON object on one line; times in nanoseconds, over `interval_ns`. `max_stacks`: rows of each kind.
std::string top_json(const TopModel& model, size_t max_stacks);

}  // namespace fiberprof
