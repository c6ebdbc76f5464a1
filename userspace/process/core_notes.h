// SPDX-License-Identifier: BSD-2-Clause
// What the notes of a core file tell: threads with their registers, mapped files, the auxiliary vector. Hostile input:
// every count is bounded and what does not fit is skipped and counted.
#pragma once

#include <sys/user.h>

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "elf/elf_file.h"

namespace fiberprof {

struct CoreThread {
  static constexpr size_t kRegisters = sizeof(user_regs_struct) / sizeof(uint64_t);

  uint32_t tid = 0;  // as the process saw it
  uint64_t pc = 0, sp = 0, bp = 0;
  uint64_t tls = 0;                              // fs_base, tpidr_el0; 0: the core does not say
  std::array<uint64_t, kRegisters> registers{};  // all of struct user_regs_struct
  std::string vector_registers;                  // raw: floating-point and vector state, which may hold pointers too
};

// One entry of NT_FILE.
struct CoreFileRange {
  uint64_t start = 0, end = 0, offset = 0;
  std::string path;  // without " (deleted)"
  bool deleted = false;
};

struct CoreNotes {
  uint32_t pid = 0;
  int signal = 0;                   // that ended the process; 0: none (a core taken of a process that went on)
  std::string name;                 // its comm
  std::vector<CoreThread> threads;  // the one that caused the core comes first
  std::vector<CoreFileRange> files;
  std::map<uint64_t, uint64_t> auxv;  // by AT_*
  uint64_t malformed = 0;             // notes that cannot be what they say
};

// Adds what a PT_NOTE segment says; `size` bytes from `offset` of the file.
void read_core_notes(const ElfFile& core, uint64_t offset, uint64_t size, CoreNotes& notes);

}  // namespace fiberprof
