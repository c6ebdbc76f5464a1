// SPDX-License-Identifier: BSD-2-Clause
// What a session needs of this machine and this user, checked before anything is loaded, so that a failure is one
// line that says what to do. `fiberprof doctor` prints the same checks.
#pragma once

#include <string>
#include <vector>

#include "process/target.h"
#include "support/error.h"

namespace fiberprof {

struct Check {
  std::string name;  // "BTF"
  bool ok = false;
  bool required = true;
  std::string detail;  // what was found
  std::string hint;    // what to do when it is not ok
};

// Every check, passed or not, in the order in which they matter.
std::vector<Check> preflight_checks();

// The first required check that fails, as an error.
Result<void> preflight();

// Whether memory of `pid` may be read (process_vm_readv, /proc/PID/mem): asks the kernel by reading nothing.
bool may_read_memory(uint32_t pid);

}  // namespace fiberprof
