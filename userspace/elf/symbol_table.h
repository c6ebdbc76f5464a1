// SPDX-License-Identifier: BSD-2-Clause
// The symbols of one ELF file, sorted for lookup by address.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "elf/elf_file.h"

namespace fiberprof {

struct ElfSymbol {
  uint64_t address = 0, size = 0;  // link-time
  std::string_view name;           // mangled, as in the file; valid as long as the table
};

class SymbolTable {
 public:
  // Function symbols of .symtab and .dynsym together. A file without either gives an empty table.
  static SymbolTable functions(const ElfFile& file);

  // The function that covers `address`: the one with the highest start at or below it whose size reaches it, or that
  // has no size (hand-written assembly) when nothing else starts in between. Complexity: O(log n).
  std::optional<ElfSymbol> find(uint64_t address) const;
  // Every function, one name for each address.
  template <class Visit>
  void each(Visit visit) const {
    for (const Entry& entry : entries_)
      visit(ElfSymbol{entry.address, entry.limit - entry.address,
                      std::string_view(names_).substr(entry.name, entry.name_size)});
  }
  size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    uint64_t address;
    uint64_t limit;  // first address it does not cover
    uint32_t name, name_size;
    uint8_t rank;  // among symbols of the same address the highest is the one to show
  };
  std::vector<Entry> entries_;
  std::string names_;
};

// Link-time address of the symbol (of any type) with this exact name, in .symtab or .dynsym.
std::optional<uint64_t> find_symbol(const ElfFile& file, std::string_view name);

}  // namespace fiberprof
