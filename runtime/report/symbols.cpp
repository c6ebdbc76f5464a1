// SPDX-License-Identifier: BSD-2-Clause
#include "report/symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

namespace fiber::detail {

namespace {

// The loaded file that an address is in.
struct Module {
  std::uint64_t address;
  bool found = false;
  std::uint64_t base = 0;
  std::string path, name;
};

int look_for(dl_phdr_info* info, std::size_t, void* raw) {
  auto* module = static_cast<Module*>(raw);
  for (int i = 0; i < info->dlpi_phnum; ++i) {
    const ElfW(Phdr)& segment = info->dlpi_phdr[i];
    if (segment.p_type != PT_LOAD || module->address - info->dlpi_addr - segment.p_vaddr >= segment.p_memsz) continue;
    module->found = true;
    module->base = info->dlpi_addr;
    const bool program = info->dlpi_name == nullptr || *info->dlpi_name == 0;
    module->path = program ? "/proc/self/exe" : info->dlpi_name;
    module->name = program ? program_invocation_short_name
                           : module->path.substr(module->path.rfind('/') + 1);  // npos + 1: all of it
    return 1;
  }
  return 0;
}

// `count` things of type T at `offset`, or null: the file may be anything.
template <class T>
const T* part(const std::byte* data, std::size_t size, std::uint64_t offset, std::uint64_t count) {
  if (offset > size || offset % alignof(T) != 0 || count > (size - offset) / sizeof(T)) return nullptr;
  return reinterpret_cast<const T*>(data + offset);
}

std::string hex(std::uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof(text), "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

std::string demangled(const char* name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string result = status == 0 && text != nullptr ? text : name;
  std::free(text);
  return result;
}

}  // namespace

Symbols::~Symbols() {
  for (auto& [path, file] : files_) {
    if (file.data != nullptr) munmap(const_cast<std::byte*>(file.data), file.size);
  }
}

const Symbols::File& Symbols::file(const std::string& path) {
  const auto [found, is_new] = files_.try_emplace(path);
  File& file = found->second;
  if (!is_new) return file;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return file;
  struct stat status;
  if (fstat(fd, &status) == 0 && status.st_size > 0) {
    void* data = mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (data != MAP_FAILED) {
      file.data = static_cast<const std::byte*>(data);
      file.size = static_cast<std::size_t>(status.st_size);
    }
  }
  close(fd);
  const auto* header = part<ElfW(Ehdr)>(file.data, file.size, 0, 1);
  if (header == nullptr || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0) return file;
  const auto* sections = part<ElfW(Shdr)>(file.data, file.size, header->e_shoff, header->e_shnum);
  if (sections == nullptr) return file;
  const ElfW(Shdr)* table = nullptr;  // the full one rather than the dynamic one
  for (unsigned i = 0; i < header->e_shnum; ++i) {
    if (sections[i].sh_type == SHT_SYMTAB || (sections[i].sh_type == SHT_DYNSYM && table == nullptr)) {
      table = &sections[i];
    }
  }
  if (table == nullptr || table->sh_link >= header->e_shnum) return file;
  const ElfW(Shdr)& names = sections[table->sh_link];
  const char* text = part<char>(file.data, file.size, names.sh_offset, names.sh_size);
  const std::size_t count = table->sh_size / sizeof(ElfW(Sym));
  const auto* symbols = part<ElfW(Sym)>(file.data, file.size, table->sh_offset, count);
  if (text == nullptr || names.sh_size == 0 || text[names.sh_size - 1] != 0 || symbols == nullptr) return file;
  for (std::size_t i = 0; i < count; ++i) {
    const ElfW(Sym)& symbol = symbols[i];
    if ((symbol.st_info & 0xf) != STT_FUNC || symbol.st_shndx == SHN_UNDEF || symbol.st_name >= names.sh_size) continue;
    file.functions.push_back({symbol.st_value, symbol.st_size, text + symbol.st_name});
  }
  std::stable_sort(file.functions.begin(), file.functions.end(),
                   [](const Symbol& a, const Symbol& b) { return a.value < b.value; });
  return file;
}

CodeLocation Symbols::locate(const void* address, bool returned_to) {
  if (address == nullptr) return {};
  const auto key = reinterpret_cast<std::uint64_t>(address);
  const auto [found, is_new] = names_[returned_to].try_emplace(key);
  if (is_new) found->second = name(key, returned_to);
  return {address, found->second};
}

std::string Symbols::name(std::uint64_t address, bool returned_to) {
  const std::uint64_t back = returned_to ? 1 : 0;
  Module module{.address = address - back, .path = {}, .name = {}};
  dl_iterate_phdr(look_for, &module);
  if (!module.found) return hex(address);
  const std::uint64_t value = module.address - module.base;
  const std::vector<Symbol>& functions = file(module.path).functions;
  const auto after = std::upper_bound(functions.begin(), functions.end(), value,
                                      [](std::uint64_t at, const Symbol& symbol) { return at < symbol.value; });
  const bool known = after != functions.begin() && (value - after[-1].value < after[-1].size || after[-1].size == 0);
  const std::string function =
      known ? demangled(after[-1].name) + "+" + hex(value + back - after[-1].value) : hex(value + back);
  return function + " (" + module.name + ")";
}

}  // namespace fiber::detail
