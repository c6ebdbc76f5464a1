// SPDX-License-Identifier: BSD-2-Clause
// A session over the whole machine: programs on fibers are found as they come, attached to once for each file, and
// what was counted of each is kept apart, also when one process runs several programs one after the other.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "session/discovery.h"
#include "session/session.h"
#include "support/error.h"

namespace fiberprof {

class SystemWatch {
 public:
  // Attaches to every program that runs; that there is none yet is no error. `options.processes` is ignored.
  static Result<std::unique_ptr<SystemWatch>> start(SessionOptions options);

  Session& session() { return session_; }
  // Readable when update() has something to do.
  int fd() const { return discovery_.fd(); }
  // Attaches to what is new, takes note of what has ended.
  void update();
  // Those that run, by process id.
  const Discovery::Programs& running() const { return discovery_.running(); }
  // How many have ended since the last read().
  size_t ended() const { return ended_.size(); }

  struct Part {
    std::shared_ptr<Program> program;
    Snapshot snapshot;  // of this program alone; its `losses` are empty
  };
  struct Reading {
    std::vector<Part> running;  // those that something was counted of; from the start
    std::vector<Part> ended;    // complete, and never returned again
    Losses losses;              // of all
    uint64_t time_ns = 0, attached_ns = 0;
    uint64_t unknown = 0;  // waits of processes of which nothing is known: they came and went unseen
  };
  // Everything counted. What belongs to programs that have ended is then taken out of the kernel's maps.
  Result<Reading> read();

  // What could not be attached to or looked into, each once, since the last call.
  std::vector<std::string> take_warnings();

 private:
  SystemWatch(Discovery discovery, Session session) : discovery_(std::move(discovery)), session_(std::move(session)) {}
  void adopt(const Program& program);

  Discovery discovery_;
  Session session_;
  std::vector<std::shared_ptr<Program>> ended_;  // not read yet
  std::set<std::string> warned_;
  std::vector<std::string> warnings_;
  size_t session_warnings_ = 0;  // of the session's, how many have been passed on
};

// Lets this process have as many open files as it may: a few are needed for each process and each binary watched.
void raise_file_limit();

}  // namespace fiberprof
