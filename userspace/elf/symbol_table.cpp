// SPDX-License-Identifier: BSD-2-Clause
#include "elf/symbol_table.h"

#include <algorithm>
#include <cstring>

namespace fiberprof {
namespace {

constexpr size_t kMaxSymbols = 20'000'000;  // the largest browsers have about 2 million
constexpr size_t kMaxNames = 1U << 30;

// Calls `visit(symbol, name)` for every defined symbol of a symbol table section; stops when it returns false.
template <class Visit>
void each_symbol(const ElfFile& file, uint32_t section_type, Visit visit) {
  for (const ElfSection& section : file.sections()) {
    if (section.type != section_type) continue;
    const std::string_view bytes = file.contents(section);
    const ElfSection* strings = nullptr;
    for (const ElfSection& other : file.sections())
      if (other.index == section.link && other.type == SHT_STRTAB) strings = &other;
    if (strings == nullptr) continue;
    const std::string_view names = file.contents(*strings);
    const size_t count = std::min(bytes.size() / sizeof(Elf64_Sym), kMaxSymbols);
    for (size_t i = 1; i < count; ++i) {
      Elf64_Sym symbol;
      std::memcpy(&symbol, bytes.data() + i * sizeof symbol, sizeof symbol);
      if (symbol.st_shndx == SHN_UNDEF || symbol.st_name == 0 || symbol.st_name >= names.size()) continue;
      const std::string_view rest = names.substr(symbol.st_name);
      const size_t end = rest.find('\0');
      if (end == std::string_view::npos || end == 0) continue;
      if (!visit(symbol, rest.substr(0, end))) return;
    }
  }
}

uint8_t rank_of(const Elf64_Sym& symbol, std::string_view name) {
  // Of aliases, prefer a sized one, then a global one, then the one with fewer leading underscores ("read" to
  // "__libc_read").
  const bool underscores = name.size() > 2 && name[0] == '_' && name[1] == '_';
  return static_cast<uint8_t>((symbol.st_size != 0 ? 4 : 0) + (ELF64_ST_BIND(symbol.st_info) != STB_LOCAL ? 2 : 0) +
                              (underscores ? 0 : 1));
}

}  // namespace

SymbolTable SymbolTable::functions(const ElfFile& file) {
  SymbolTable table;
  const auto add = [&](const Elf64_Sym& symbol, std::string_view name) {
    const int type = ELF64_ST_TYPE(symbol.st_info);
    const ElfSegment* segment = nullptr;
    for (const ElfSegment& candidate : file.segments())
      if (candidate.executable && symbol.st_value >= candidate.vaddr &&
          symbol.st_value - candidate.vaddr < candidate.memory_size)
        segment = &candidate;
    if (segment == nullptr) return true;
    // Assembly often lacks a type; local labels of any kind are not functions.
    const bool function =
        type == STT_FUNC || type == STT_GNU_IFUNC || (type == STT_NOTYPE && ELF64_ST_BIND(symbol.st_info) != STB_LOCAL);
    if (!function) return true;
    if (table.names_.size() + name.size() > kMaxNames || table.entries_.size() >= kMaxSymbols) return false;
    const uint64_t segment_end = segment->vaddr + segment->memory_size;
    const uint64_t limit = symbol.st_size == 0 || symbol.st_size > segment_end - symbol.st_value
                               ? segment_end
                               : symbol.st_value + symbol.st_size;
    table.entries_.push_back({symbol.st_value, limit, static_cast<uint32_t>(table.names_.size()),
                              static_cast<uint32_t>(name.size()), rank_of(symbol, name)});
    table.names_ += name;
    return true;
  };
  each_symbol(file, SHT_SYMTAB, add);
  if (table.entries_.empty()) each_symbol(file, SHT_DYNSYM, add);
  std::stable_sort(table.entries_.begin(), table.entries_.end(), [](const Entry& a, const Entry& b) {
    return a.address != b.address ? a.address < b.address : a.rank > b.rank;
  });
  const auto same = [](const Entry& a, const Entry& b) { return a.address == b.address; };
  table.entries_.erase(std::unique(table.entries_.begin(), table.entries_.end(), same), table.entries_.end());
  return table;
}

std::optional<ElfSymbol> SymbolTable::find(uint64_t address) const {
  auto after = std::upper_bound(entries_.begin(), entries_.end(), address,
                                [](uint64_t value, const Entry& entry) { return value < entry.address; });
  // Functions may contain others (cold parts, assembly labels); a few steps back are enough and bound the search.
  for (int steps = 0; steps < 8 && after != entries_.begin(); ++steps) {
    --after;
    if (address < after->limit)
      return ElfSymbol{after->address, after->limit - after->address,
                       std::string_view(names_).substr(after->name, after->name_size)};
  }
  return std::nullopt;
}

std::optional<uint64_t> find_symbol(const ElfFile& file, std::string_view wanted) {
  std::optional<uint64_t> found;
  const auto match = [&](const Elf64_Sym& symbol, std::string_view name) {
    if (name == wanted) found = symbol.st_value;
    return !found;
  };
  each_symbol(file, SHT_DYNSYM, match);
  if (!found) each_symbol(file, SHT_SYMTAB, match);
  return found;
}

}  // namespace fiberprof
