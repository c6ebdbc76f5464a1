// SPDX-License-Identifier: BSD-2-Clause
// What the kernel says of a thread of the target.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <fstream>
#include <string>

namespace fiberprof::test {

inline void until_asleep(pid_t pid, uint32_t tid) {
  const std::string file = "/proc/" + std::to_string(pid) + "/task/" + std::to_string(tid) + "/syscall";
  std::string word;
  while (std::getline(std::ifstream(file) >> std::ws, word) && word == "running")
    ;
}

// How often it has left its CPU.
inline uint64_t switches_of(pid_t pid, uint32_t tid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/task/" + std::to_string(tid) + "/status");
  std::string word;
  uint64_t sum = 0, count = 0;
  while (status >> word)
    if (word == "voluntary_ctxt_switches:" || word == "nonvoluntary_ctxt_switches:") sum += status >> count ? count : 0;
  return sum;
}

}  // namespace fiberprof::test
