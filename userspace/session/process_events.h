// SPDX-License-Identifier: BSD-2-Clause
// What happens to processes anywhere on the machine, as the kernel tells it: code mapped, programs replaced, processes
// forked and ended. These are the side-band records of perf events, one ring for each CPU: unlike /proc they still tell
// where the code of a process was when the process is gone, and they name every mapping of a library, whether at
// exec, by the dynamic linker or by dlopen. A process that maps no code and ends costs two records of 60 bytes.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "process/maps.h"
#include "support/error.h"
#include "support/unique_fd.h"

namespace fiberprof {

struct ProcessEvent {
  enum class Kind : uint8_t {
    mapped,  // `mapping`: executable code of a file
    exec,    // the process runs another program now; its old mappings are gone. Comes before those of the new one
    forked,  // from `parent`, with a copy of its mappings
    ended,   // its last thread, or its first: look whether it still lives
    lost,    // so many (`count`) events had no room; what is known of processes may be out of date
  };
  Kind kind{};
  uint32_t pid = 0;  // in the pid namespace of fiberprof; processes that are not visible there are left out
  uint32_t parent = 0;
  uint64_t time_ns = 0;  // CLOCK_MONOTONIC
  uint64_t count = 0;
  uint64_t generation = 0;  // of the inode: another file that got the same inode number later has another one
  Mapping mapping;
  std::string name;  // exec: its comm
};

class ProcessEvents {
 public:
  // Events from now on. Errors: no permission (CAP_PERFMON), no memory for the rings.
  static Result<ProcessEvents> open();

  // Readable when there is something to read: poll(2) it.
  int fd() const { return poll_.get(); }
  // Calls `visit` for each event that has come, in order of time, and forgets it.
  void read(const std::function<void(const ProcessEvent&)>& visit);

  ProcessEvents(ProcessEvents&&) noexcept = default;
  ProcessEvents& operator=(ProcessEvents&&) noexcept = default;

 private:
  struct Ring {
    UniqueFd fd;
    void* memory = nullptr;
    Ring() = default;
    Ring(Ring&& other) noexcept;
    Ring& operator=(Ring&& other) noexcept;
    ~Ring();
  };
  ProcessEvents() = default;
  static void read_ring(const Ring& ring, std::vector<ProcessEvent>& events);

  std::vector<Ring> rings_;
  UniqueFd poll_;
};

}  // namespace fiberprof
