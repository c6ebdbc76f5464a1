// SPDX-License-Identifier: BSD-2-Clause
#include "symbol/binary_symbols.h"

#include <cstdio>

#include "symbol/debug_file.h"
#include "symbol/demangle.h"

namespace fiberprof {

BinarySymbols::BinarySymbols(UniqueFd fd, std::string target_path, std::shared_ptr<const UniqueFd> root)
    : fd_(std::move(fd)), path_(std::move(target_path)), root_(std::move(root)) {
  base_name_ = path_.substr(path_.rfind('/') + 1);
}

BinarySymbols::~BinarySymbols() = default;

void BinarySymbols::load() {
  if (loaded_) return;
  loaded_ = true;
  if (auto file = ElfFile::open(std::move(fd_), path_)) file_ = std::make_unique<ElfFile>(std::move(*file));
}

const std::string& BinarySymbols::build_id() {
  static const std::string kNone;
  load();
  return file_ ? file_->build_id() : kNone;
}

uint64_t BinarySymbols::vaddr_of(uint64_t offset) {
  load();
  return file_ ? file_->vaddr_of(offset).value_or(offset) : offset;
}

void BinarySymbols::load_symbols() {
  if (symbols_loaded_) return;
  symbols_loaded_ = true;
  load();
  if (!file_) return;
  const int root = root_ ? root_->get() : -1;
  const bool own_symbols = file_->section(".symtab") != nullptr, own_dwarf = has_dwarf(*file_);
  std::optional<ElfFile> debug;
  if (!own_symbols || !own_dwarf) debug = find_debug_file(*file_, path_, root);
  // A stripped binary still has the dynamic symbols; its debug file has all of them.
  symbols_ = SymbolTable::functions(!own_symbols && debug ? *debug : *file_);
  if (symbols_.size() == 0) symbols_ = SymbolTable::functions(*file_);
  const ElfFile& with_dwarf = !own_dwarf && debug ? *debug : *file_;
  if (!has_dwarf(with_dwarf)) return;
  const auto alternate = find_alternate_file(with_dwarf, root);
  dwarf_ = DwarfInfo::open(with_dwarf, alternate ? &*alternate : nullptr);
}

std::optional<UnwindRow> BinarySymbols::unwind_row(uint64_t vaddr) {
  load();
  if (!unwind_loaded_ && file_) unwind_ = UnwindTable::open(*file_);
  unwind_loaded_ = true;
  return unwind_ ? unwind_->find(vaddr) : std::nullopt;
}

std::vector<SourceFrame> BinarySymbols::find(uint64_t vaddr) {
  load_symbols();
  std::vector<SourceFrame> frames;
  if (dwarf_) frames = dwarf_->find(vaddr);
  if (frames.empty()) frames.emplace_back();
  SourceFrame& function = frames.back();
  // The symbol table's name has the parameters and exists for every function, so it goes first.
  if (const auto symbol = symbols_.find(vaddr)) function.function = demangle(symbol->name);
  for (SourceFrame& frame : frames) {
    if (!frame.function.empty()) continue;
    char offset[32];
    std::snprintf(offset, sizeof offset, "+0x%llx", static_cast<unsigned long long>(vaddr));
    frame.function = base_name_ + offset;
  }
  return frames;
}

}  // namespace fiberprof
