// SPDX-License-Identifier: BSD-2-Clause
// Names of one binary (executable, shared library, vdso), read when first needed and shared by all processes that map
// it.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "elf/elf_file.h"
#include "elf/symbol_table.h"
#include "support/unique_fd.h"
#include "symbol/dwarf_info.h"
#include "symbol/unwind_table.h"

namespace fiberprof {

class BinarySymbols {
 public:
  // `target_path`: the binary as its process sees it. `root`: the process's root directory, for separate debug files.
  BinarySymbols(UniqueFd fd, std::string target_path, std::shared_ptr<const UniqueFd> root);
  ~BinarySymbols();

  const std::string& build_id();
  // File offset to link-time address; the offset itself when the file has no such segment.
  uint64_t vaddr_of(uint64_t offset);
  // Frames at a link-time address, innermost first, at least one; "name+0x1234" when no symbol covers it.
  std::vector<SourceFrame> find(uint64_t vaddr);
  // Unwind rules at a link-time address.
  std::optional<UnwindRow> unwind_row(uint64_t vaddr);

 private:
  void load();
  void load_symbols();

  UniqueFd fd_;
  std::string path_, base_name_;
  std::shared_ptr<const UniqueFd> root_;
  bool loaded_ = false, symbols_loaded_ = false, unwind_loaded_ = false;
  std::unique_ptr<ElfFile> file_;
  SymbolTable symbols_;
  std::unique_ptr<DwarfInfo> dwarf_;
  std::unique_ptr<UnwindTable> unwind_;
};

}  // namespace fiberprof
