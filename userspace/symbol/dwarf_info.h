// SPDX-License-Identifier: BSD-2-Clause
// Source lines and inlined functions of one ELF file, from its DWARF debug information.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "elf/elf_file.h"

namespace fiberprof {

// One frame within a binary.
struct SourceFrame {
  std::string function;  // demangled; may be empty
  std::string file;      // may be empty
  uint32_t line = 0;
  bool inlined = false;
};

// Units are looked at when an address first falls into them. The work and memory that malformed information can cause
// is bounded; at the bound it reads as if nothing were there.
class DwarfInfo {
 public:
  // `file` has the .debug_* sections, `alternate` is the file it shares some with (dwz), or null; neither is needed
  // afterwards. Null when there are none or they cannot be used.
  static std::unique_ptr<DwarfInfo> open(const ElfFile& file, const ElfFile* alternate);
  virtual ~DwarfInfo() = default;
  // Frames at a link-time address, innermost first; the last is the function itself. Empty when nothing is known.
  virtual std::vector<SourceFrame> find(uint64_t vaddr) = 0;
};

// Whether a file has debug information worth opening.
bool has_dwarf(const ElfFile& file);

}  // namespace fiberprof
