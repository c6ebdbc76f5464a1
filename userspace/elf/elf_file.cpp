// SPDX-License-Identifier: BSD-2-Clause
#include "elf/elf_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace fiberprof {
namespace {

// Real binaries stay far below; what lies above is malformed and would only cost memory.
constexpr size_t kMaxSegments = 4096;
constexpr size_t kMaxSections = 100'000;

tl::unexpected<Error> bad(const std::string& path, std::string why) {
  return fail("cannot read " + path, std::move(why));
}

std::string hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

bool covers(uint64_t start, uint64_t size, uint64_t value) { return value >= start && value - start < size; }

}  // namespace

Result<ElfFile> ElfFile::open(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return bad(path, std::strerror(errno));
  return open(std::move(fd), path);
}

Result<ElfFile> ElfFile::open(UniqueFd fd, std::string path) {
  ElfFile file;
  file.fd_ = std::move(fd);
  file.path_ = std::move(path);
  if (auto loaded = file.load(); !loaded) return tl::unexpected(loaded.error());
  return file;
}

Result<void> ElfFile::load() {
  static const unsigned version = elf_version(EV_CURRENT);
  if (version == EV_NONE) return bad(path_, "libelf is too old");
  struct stat info {};
  if (fstat(fd_.get(), &info) != 0) return bad(path_, std::strerror(errno));
  // A fifo or a device would block or have side effects when read.
  if (!S_ISREG(info.st_mode)) return bad(path_, "not a regular file");
  device_ = info.st_dev;
  inode_ = info.st_ino;
  file_size_ = static_cast<uint64_t>(info.st_size);
  elf_.reset(elf_begin(fd_.get(), ELF_C_READ, nullptr));
  GElf_Ehdr header;
  if (!elf_ || elf_kind(elf_.get()) != ELF_K_ELF || gelf_getehdr(elf_.get(), &header) == nullptr)
    return bad(path_, "not an ELF file");
  if (gelf_getclass(elf_.get()) != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
    return bad(path_, "not a 64-bit little-endian ELF file");
  machine_ = header.e_machine;
  type_ = header.e_type;
  load_segments();
  load_sections();
  load_build_id();
  return {};
}

void ElfFile::load_segments() {
  size_t count = 0;
  if (elf_getphdrnum(elf_.get(), &count) != 0 || count > kMaxSegments) return;
  for (size_t i = 0; i < count; ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(elf_.get(), static_cast<int>(i), &header) == nullptr) return;
    if (header.p_type != PT_LOAD) continue;
    if (header.p_offset + header.p_filesz < header.p_offset || header.p_vaddr + header.p_memsz < header.p_vaddr)
      continue;  // wraps around
    segments_.push_back({header.p_vaddr, header.p_offset, header.p_filesz, header.p_memsz, (header.p_flags & PF_X) != 0,
                         (header.p_flags & PF_W) != 0});
  }
}

void ElfFile::load_sections() {
  size_t names = 0, count = 0;
  if (elf_getshdrstrndx(elf_.get(), &names) != 0) return;
  if (elf_getshdrnum(elf_.get(), &count) != 0 || count > kMaxSections) return;
  for (size_t i = 1; i < count; ++i) {
    Elf_Scn* section = elf_getscn(elf_.get(), i);
    GElf_Shdr header;
    if (section == nullptr || gelf_getshdr(section, &header) == nullptr) continue;
    const char* name = elf_strptr(elf_.get(), names, header.sh_name);
    sections_.push_back({name != nullptr ? name : "", header.sh_type, header.sh_flags, header.sh_addr, header.sh_offset,
                         header.sh_size, header.sh_link, header.sh_info, i});
  }
}

const ElfSection* ElfFile::section(std::string_view name) const {
  for (const ElfSection& section : sections_)
    if (section.name == name) return &section;
  return nullptr;
}

void ElfFile::load_build_id() {
  const auto search = [&](const std::vector<ElfNote>& notes) {
    for (const ElfNote& note : notes) {
      if (note.type != NT_GNU_BUILD_ID || note.name != "GNU") continue;
      if (note.description.empty() || note.description.size() > 64) continue;
      build_id_ = hex(note.description);
      return true;
    }
    return false;
  };
  for (const ElfSection& section : sections_)
    if (section.type == SHT_NOTE && search(notes(section))) return;
  // No section headers (sstrip and packers drop them): the program headers lead to the same note.
  size_t count = 0;
  if (elf_getphdrnum(elf_.get(), &count) != 0 || count > kMaxSegments) return;
  for (size_t i = 0; i < count; ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(elf_.get(), static_cast<int>(i), &header) == nullptr) return;
    if (header.p_type != PT_NOTE || header.p_filesz > 65536) continue;
    const std::string bytes = read(header.p_offset, header.p_filesz);
    if (search(parse_notes(bytes))) return;
  }
}

std::optional<uint64_t> ElfFile::offset_of(uint64_t vaddr) const {
  for (const ElfSegment& segment : segments_)
    if (covers(segment.vaddr, segment.file_size, vaddr)) return segment.offset + (vaddr - segment.vaddr);
  return std::nullopt;
}

std::optional<uint64_t> ElfFile::vaddr_of(uint64_t offset) const {
  const ElfSegment* found = nullptr;
  for (const ElfSegment& segment : segments_) {
    if (!covers(segment.offset, segment.file_size, offset)) continue;
    if (found == nullptr || (segment.executable && !found->executable)) found = &segment;
  }
  if (found == nullptr) return std::nullopt;
  return found->vaddr + (offset - found->offset);
}

std::string_view ElfFile::contents(const ElfSection& section) const {
  if (section.type == SHT_NOBITS || (section.flags & SHF_COMPRESSED) != 0) return {};
  if (section.offset > file_size_ || section.size > file_size_ - section.offset) return {};
  Elf_Scn* handle = elf_getscn(elf_.get(), section.index);
  const Elf_Data* data = handle != nullptr ? elf_rawdata(handle, nullptr) : nullptr;
  if (data == nullptr || data->d_buf == nullptr) return {};
  return {static_cast<const char*>(data->d_buf), data->d_size};
}

std::vector<ElfNote> ElfFile::notes(const ElfSection& section) const { return parse_notes(contents(section)); }

std::string ElfFile::read(uint64_t offset, size_t size) const {
  if (offset >= file_size_) return {};
  std::string bytes(static_cast<size_t>(std::min<uint64_t>(size, file_size_ - offset)), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = pread(fd_.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  bytes.resize(done);
  return bytes;
}

std::vector<ElfNote> parse_notes(std::string_view bytes) {
  std::vector<ElfNote> notes;
  const auto round = [](uint64_t size) { return (size + 3) & ~uint64_t{3}; };
  uint64_t at = 0;
  while (bytes.size() - at >= 12) {
    uint32_t sizes[3];  // name, description, type
    std::memcpy(sizes, bytes.data() + at, sizeof sizes);
    const uint64_t name_at = at + 12, description_at = name_at + round(sizes[0]);
    if (description_at > bytes.size() || sizes[1] > bytes.size() - description_at) break;
    std::string_view name = bytes.substr(name_at, sizes[0]);
    if (!name.empty() && name.back() == '\0') name.remove_suffix(1);
    notes.push_back({sizes[2], name, bytes.substr(description_at, sizes[1])});
    at = description_at + round(sizes[1]);
    if (at > bytes.size()) break;
  }
  return notes;
}

}  // namespace fiberprof
