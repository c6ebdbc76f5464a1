// SPDX-License-Identifier: BSD-2-Clause
// The uprobes of a session: which program sits at which probe of which file, and the links that hold them there.
#pragma once

#include <string>
#include <vector>

#include "process/target.h"
#include "session/bpf_handles.h"
#include "session/nop_form.h"
#include "support/error.h"

namespace fiberprof {

struct WantedProbe {
  const char* name;            // "blocked"
  const bpf_program* program;  // loaded
  bool required;               // without it there is nothing to watch; else its lack is a warning
};

class ProbeAttacher {
 public:
  // `by_file`: for every process that maps the file, those that start later included. Else for the one process given,
  // so that no other that maps the file gets breakpoints.
  ProbeAttacher(NopForm form, bool by_file) : form_(form), by_file_(by_file) {}

  // Attaches to every usable site of the probe in the binary of `process`.
  Result<void> attach(const FiberProcess& process, const WantedProbe& probe);
  void detach() { links_.clear(); }
  // Probes that are not required and that a process lacks ("pid 12 has no usable probe fiber:proc_sample").
  std::vector<std::string> take_warnings() { return std::move(warnings_); }

 private:
  NopForm form_;
  bool by_file_;
  std::vector<UniqueLink> links_;
  std::vector<std::string> warnings_;
};

// The processes by the file that holds their probes: one entry each file, in the order in which they are given.
std::vector<std::vector<const FiberProcess*>> by_file(const std::vector<FiberProcess>& processes);

// "pid 12 (kvd)"
std::string describe(const FiberProcess& process);

}  // namespace fiberprof
