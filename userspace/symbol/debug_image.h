// SPDX-License-Identifier: BSD-2-Clause
// The debug sections of an ELF file as an ELF file of their own in memory.
#pragma once

#include <libelf.h>

#include <cstddef>
#include <memory>

#include "elf/elf_file.h"

namespace fiberprof {

// libdw reads strings without looking for the end of their section (0.188: a DW_FORM_string or a directory of a line
// table that is not terminated reads beyond its buffer). So the sections are laid out here one after the other, each
// followed by zeros, decompressed, and libdw is given nothing else. Sections nobody here needs stay on disk.
class DebugImage {
 public:
  // Null when there is no debug information, or it is damaged, compressed in an unknown way or larger than 4 GiB.
  static std::unique_ptr<DebugImage> build(const ElfFile& file);
  Elf* handle() const { return elf_.get(); }

 private:
  struct ElfEnd {
    void operator()(Elf* elf) const { elf_end(elf); }
  };
  std::unique_ptr<char[]> bytes_;
  std::unique_ptr<Elf, ElfEnd> elf_;  // refers to bytes_: destroyed first
};

}  // namespace fiberprof
