// SPDX-License-Identifier: BSD-2-Clause
// Unwind rules of one ELF file, from .eh_frame.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "elf/elf_file.h"
#include "symbol/leaf_unwind.h"

namespace fiberprof {

class UnwindTable {
 public:
  // Null when the file has no usable rules or is for another machine than x86-64 and AArch64.
  static std::unique_ptr<UnwindTable> open(const ElfFile& file);
  virtual ~UnwindTable() = default;
  // The rules at a link-time address. nullopt: none, or of a kind that complete_stack() could not apply.
  virtual std::optional<UnwindRow> find(uint64_t vaddr) = 0;
};

}  // namespace fiberprof
