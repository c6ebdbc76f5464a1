// SPDX-License-Identifier: BSD-2-Clause
// What people read for a wait's reason and for why a worker was off its CPU: one wording for every command.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "session/snapshot.h"

namespace fiberprof {

// What stands for the function of a process's first fiber, which was not spawned.
inline constexpr const char* kMainFiber = "main";

// "chan receive"; "reason 77" for one this build does not know.
std::string reason_name(uint8_t reason);
// The reverse, also accepting "chan_recv", "CHAN_RECV" and "chan-receive".
std::optional<uint8_t> reason_of(std::string_view name);

// "read", "fsync"; "syscall 999" for those without a name here.
std::string syscall_name(int32_t number);

// "preempted", "futex wait", "poll", "read", "page fault", "disk: fsync".
std::string off_cpu_name(const OffCpuEntry& entry);

}  // namespace fiberprof
