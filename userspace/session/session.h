// SPDX-License-Identifier: BSD-2-Clause
// A session: the kernel programs attached to one or more processes, and what they have counted so far. Four steps in
// order: open, configure, load, attach. Destruction detaches; the target is then as it was before.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "process/target.h"
#include "session/fiber_filter.h"
#include "session/nop_form.h"
#include "session/snapshot.h"
#include "support/error.h"

namespace fiberprof {

enum class Tier : uint8_t { sampled, exact };

struct SessionOptions {
  std::vector<FiberProcess> processes;  // at least one, unless `all_of_binary`
  // Every process that maps the binaries of `processes`, those that start later included, and of those that adopt()
  // adds; else only `processes`.
  bool all_of_binary = false;
  Tier tier = Tier::sampled;
  bool off_cpu = true;       // watch worker threads at sched_switch
  bool wake_ups = true;      // and at sched_wakeup; false: as if the kernel kept wake-ups from the programs
  bool on_cpu = true;        // sample what they run; the CPU clock, cpu_clock.h
  bool wakers = false;       // record who ended each wait, and why not earlier; needs off_cpu
  uint64_t min_wait_ns = 0;  // shorter waits and off-CPU times are not recorded
  FiberFilter fibers;        // waits and off-CPU times of these fibers only; needs off_cpu
  uint32_t reasons = ~0u;    // bit i: record waits of reason i (FIBERPROF_REASON_*)
  // Entries of the kernel maps. 0: chosen by the number of CPUs, since per-CPU maps multiply by it.
  uint32_t max_blocked = 0, max_off_cpu = 0, max_stacks = 0, max_worker_stacks = 0, max_workers = 0, max_queues = 0,
           max_on_cpu = 0;
  std::optional<NopForm> nop_form;  // default: the cheapest on this kernel, see measure_nop_forms()
};

class Session {
 public:
  // Checks privileges and kernel features (preflight.h) and opens the object. Errors say what is missing.
  static Result<Session> open(SessionOptions options);
  // Sizes the maps and sets the constants the programs are specialised by.
  Result<void> configure();
  // Hands the programs to the kernel. Errors carry the last relevant line of libbpf's log.
  Result<void> load();
  // Aggregation and off-CPU programs first, the probes of waits last. After an error nothing stays attached.
  Result<void> attach();
  // The four steps.
  static Result<Session> start(SessionOptions options);

  // Everything counted since attach(). Also works after detach() and after the processes have ended.
  Result<Snapshot> snapshot();

  // CLOCK_MONOTONIC, right before the probes of waits were attached; 0: not yet.
  uint64_t attached_ns() const;

  // With `all_of_binary`: one more process to watch. Its file is attached to unless it is already.
  Result<void> adopt(const FiberProcess& process);
  // Takes what was counted of processes that have ended out of the kernel's maps, to make room: every entry of `part`,
  // which came from snapshot().
  void forget(const Snapshot& part);
  // The process has ended.
  void release(uint32_t pid);

  // Takes the probes out of the processes; counted values stay readable.
  void detach();

  const SessionOptions& options() const;
  const FiberSelection& fibers() const;
  NopForm nop_form() const;  // the form actually attached at
  // Processes given that still run. Their pidfds become readable when they end: poll(2) them to sleep until then.
  size_t alive() const;
  std::vector<int> pidfds() const;
  // Probes of the list a session would like to have and that some process lacks ("pid 12 has no fiber:proc_sample").
  const std::vector<std::string>& warnings() const;

  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

 private:
  struct State;
  explicit Session(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace fiberprof
