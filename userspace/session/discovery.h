// SPDX-License-Identifier: BSD-2-Clause
// Every program on fibers of the whole machine: those that run, those that start later, by whatever way their runtime
// comes into them (linked in, a shared library, dlopen), in whatever mount and pid namespace, and those that have ended
// before anybody could look at them.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "process/target.h"
#include "session/process_events.h"
#include "support/error.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

// One program in one process, from exec (or fork) to its end or the next exec.
struct Program {
  FiberProcess process;
  uint64_t serial = 0;                      // never used twice, unlike the process id
  uint64_t since_ns = 0;                    // when it was found, CLOCK_MONOTONIC
  std::vector<Mapping> code;                // by address
  std::unique_ptr<ProcessSymbols> symbols;  // of `code`
  std::optional<ProcessHandle> handle;      // none: it had ended before it was looked at
  bool ended = false;                       // or replaced by another program
};

class Discovery {
 public:
  using Programs = std::map<uint32_t, std::shared_ptr<Program>>;  // by process id

  // Listens first, then looks at what runs, so that nothing falls between.
  static Result<Discovery> start();

  // Readable when update() has something to do: poll(2) it.
  int fd() const { return poll_.get(); }

  struct Changes {
    std::vector<std::shared_ptr<Program>> started;
    std::vector<std::shared_ptr<Program>> ended;
  };
  // What has changed since the last call; the first call returns everything that runs. Programs that both started and
  // ended in between are in both.
  Changes update();

  // Those that run.
  const Programs& running() const { return running_; }
  // Said of a process that waits have been counted of. True when it has been forked from a program on fibers, which
  // alone is not worth mention: its copy of the program counts as started with the next update().
  bool adopt_fork(uint32_t pid);
  // What could not be looked into, each once, since the last call.
  std::vector<std::string> take_warnings();

 private:
  // What is known of any process that has started since: without it, a process that has ended tells nothing.
  struct Image {
    std::string name;
    std::vector<Mapping> code;
    std::shared_ptr<Program> parent;  // forked from it, and no exec since
  };

  explicit Discovery(ProcessEvents events) : events_(std::move(events)) {}
  void handle(const ProcessEvent& event, Changes& changes);
  void mapped(const ProcessEvent& event, Changes& changes);
  void begin(uint32_t pid, FiberProcess process, std::vector<Mapping> code, Changes& changes);
  void end(uint32_t pid, Changes& changes);
  void scan(Changes& changes);
  void reap(Changes& changes);
  void give_symbols(Program& program);
  UniqueFd open_file(const Mapping& mapping) const;
  void keep_file(uint32_t pid, const Mapping& mapping);
  // Once for each `key`.
  void warn(const std::string& key, std::string text);
  void warn_of(uint32_t pid, const Mapping& mapping, const Error& error);

  ProcessEvents events_;
  UniqueFd poll_;
  FiberFinder finder_;
  uint64_t looked_ns_ = 0;  // when finder_ last began to look at files anew
  uint64_t serials_ = 0;
  Programs running_;
  std::map<uint32_t, Image> images_;
  std::set<uint32_t> forks_;           // to be adopted
  std::deque<uint32_t> ended_forks_;   // whose images are kept for a while
  std::set<uint32_t> without_handle_;  // of running_: had ended before they could be watched
  std::set<uint32_t> changed_;         // of running_: `code` is newer than `symbols`
  // Files of code that programs on fibers have mapped, by device and inode.
  std::map<std::pair<uint64_t, uint64_t>, UniqueFd> files_;
  std::set<std::string> warned_;
  std::vector<std::string> warnings_;
  bool scanned_ = false;
  std::pair<uint64_t, uint64_t> self_;  // our own executable, which has probes to measure with
};

}  // namespace fiberprof
