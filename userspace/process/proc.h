// SPDX-License-Identifier: BSD-2-Clause
// Small reads from /proc/PID, with errors that say what is the matter with the process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "support/error.h"

namespace fiberprof {

// /proc/PID/NAME as text, at most `limit` bytes. Errors: no such process, not permitted, unreadable.
Result<std::string> read_proc_file(uint32_t pid, const char* name, size_t limit = 1U << 20);

// The errors that concern a whole process.
Error no_such_process(uint32_t pid);
Error not_permitted(uint32_t pid, std::string what);  // what was tried: "cannot read the memory of process 12"
// Why a process has no mappings: kernel thread, ended but not yet collected, or gone.
Error why_without_memory(uint32_t pid);
// What to do about a lack of permission; empty for root.
std::string permission_hint();

// Target of the link /proc/PID/NAME, or empty.
std::string read_proc_link(uint32_t pid, const char* name);

// Every process id of this pid namespace, ascending.
std::vector<uint32_t> all_pids();

}  // namespace fiberprof
