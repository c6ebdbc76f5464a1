// SPDX-License-Identifier: BSD-2-Clause
// Which processes hold a fiber runtime, and which one the user means.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "elf/fiber_binary.h"
#include "process/maps.h"
#include "support/error.h"

namespace fiberprof {

struct FiberProcess {
  uint32_t pid = 0;
  std::string name;                      // its comm
  FiberBinary binary;                    // its path leads to `file` and is good as long as that is held
  std::shared_ptr<const UniqueFd> file;  // the binary, whatever becomes of the process and its mount namespace
  std::string binary_path;               // as the target sees it
  uint64_t load_bias = 0;                // address in the process = link-time address + load_bias
  uint64_t registry_address = 0;         // in the process; 0: it has none
};

// Remembers by device, inode and times which files have probes, so that a machine full of processes that map the same
// libraries is searched once. Not thread-safe.
class FiberFinder {
 public:
  // Errors, each its own message: no such process; belongs to somebody else; kernel thread; "… has no fiber probes".
  Result<FiberProcess> find(uint32_t pid);
  // The same from mappings of its that are known already; works for a process that has just ended when its binary has
  // been seen before.
  Result<FiberProcess> find_in(uint32_t pid, const std::vector<Mapping>& maps);
  // Whether the file of one mapping has probes. Errors: it cannot be read. A file that was looked at since the last
  // search (find, find_all, look_again) is not looked at again.
  Result<bool> has_probes(uint32_t pid, const Mapping& mapping);
  void look_again() { ++generation_; }
  // Every process that has a runtime, by pid. Processes that may not be read are skipped; `unreadable` counts them.
  std::vector<FiberProcess> find_all(size_t* unreadable = nullptr);
  // PID or name: comm, the name of the executable, or a unique part of either. ExitCode::error when none or several
  // match; the message lists the candidates.
  Result<FiberProcess> resolve(std::string_view pid_or_name);

 private:
  Result<FiberProcess> find_now(uint32_t pid);

  struct Known {
    uint64_t generation = 0;  // of the search that last looked at the file itself
    uint64_t size = 0;
    int64_t changed_ns = 0;                     // ctime
    std::shared_ptr<const FiberBinary> binary;  // null: the file has no probes
    std::shared_ptr<const UniqueFd> file;       // of a binary with probes
  };
  Result<const Known*> look_at(uint32_t pid, const Mapping& mapping);

  uint64_t generation_ = 0;
  std::map<std::pair<uint64_t, uint64_t>, Known> known_;  // by device and inode
};

// Where a mapping of code puts link-time address 0 of the binary with these segments; nothing when it is not of it.
std::optional<uint64_t> load_bias_of(const Mapping& mapping, const std::vector<ElfSegment>& segments);

// comm of a process, or empty.
std::string process_name(uint32_t pid);

// The thread of process `pid` whose id inside its own (innermost) pid namespace is `tid`; 0 when there is none.
uint32_t global_tid(uint32_t pid, uint32_t tid);
// All threads: namespaced id to global id. One scan for many lookups.
std::map<uint32_t, uint32_t> global_tids(uint32_t pid);

// Notices the end of one process, never confusing it with a later one of the same pid.
class ProcessHandle {
 public:
  static Result<ProcessHandle> open(uint32_t pid);
  bool alive() const;
  int fd() const { return fd_.get(); }  // a pidfd: readable when the process has ended

 private:
  UniqueFd fd_;
};

}  // namespace fiberprof
