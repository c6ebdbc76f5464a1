// SPDX-License-Identifier: BSD-2-Clause
#include "symbol/debug_image.h"

#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <vector>

namespace fiberprof {
namespace {

constexpr uint64_t kMaxImage = 4ULL << 30;
constexpr size_t kZeros = 64;  // behind each section; also more than the longest number that DWARF can hold
constexpr size_t kMaxSections = 64;

constexpr std::string_view kNeeded[] = {"info",        "abbrev", "line",     "line_str", "str",
                                        "str_offsets", "ranges", "rnglists", "addr",     "types"};

struct Part {
  std::string name;  // ".debug_info"
  const ElfSection* section;
  uint64_t size = 0;         // uncompressed
  uint64_t packed_from = 0;  // compressed: where in the section the zlib stream starts; 0: not compressed
  uint64_t offset = 0;       // in the image
};

bool read_exactly(const ElfFile& file, uint64_t offset, char* out, uint64_t size) {
  while (size > 0) {
    const ssize_t got = pread(file.fd(), out, std::min<uint64_t>(size, 1U << 30), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    out += got;
    offset += static_cast<uint64_t>(got);
    size -= static_cast<uint64_t>(got);
  }
  return true;
}

bool inflate_from(const ElfFile& file, const Part& part, char* out) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) return false;
  std::vector<char> input(64 * 1024);
  uint64_t at = part.section->offset + part.packed_from, left = part.section->size - part.packed_from;
  uint64_t room = part.size;
  int status = Z_OK;
  stream.next_out = reinterpret_cast<Bytef*>(out);
  while (status == Z_OK) {
    if (stream.avail_in == 0) {
      const uint64_t size = std::min<uint64_t>(left, input.size());
      if (size == 0 || !read_exactly(file, at, input.data(), size)) break;
      at += size;
      left -= size;
      stream.next_in = reinterpret_cast<Bytef*>(input.data());
      stream.avail_in = static_cast<uInt>(size);
    }
    if (stream.avail_out == 0) {
      if (room == 0) break;
      stream.avail_out = static_cast<uInt>(std::min<uint64_t>(room, 1U << 30));
      room -= stream.avail_out;
    }
    status = inflate(&stream, Z_NO_FLUSH);
  }
  const bool whole = status == Z_STREAM_END && room == 0 && stream.avail_out == 0;
  inflateEnd(&stream);
  return whole;
}

// What a section will be in the image; false when it cannot be read.
bool measure(const ElfFile& file, Part& part) {
  const ElfSection& section = *part.section;
  if (section.offset > file.file_size() || section.size > file.file_size() - section.offset) return false;
  part.size = section.size;
  if ((section.flags & SHF_COMPRESSED) != 0) {
    const std::string bytes = file.read(section.offset, sizeof(Elf64_Chdr));
    Elf64_Chdr header;
    if (bytes.size() != sizeof header || section.size < sizeof header) return false;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.ch_type != ELFCOMPRESS_ZLIB) return false;
    part.size = header.ch_size;
    part.packed_from = sizeof header;
  } else if (section.name.starts_with(".zdebug_")) {
    // "ZLIB" and the size as eight bytes, highest first
    const std::string bytes = file.read(section.offset, 12);
    if (bytes.size() != 12 || section.size < 12 || !bytes.starts_with("ZLIB")) return false;
    part.size = 0;
    for (const char c : bytes.substr(4)) part.size = part.size << 8 | static_cast<unsigned char>(c);
    part.packed_from = 12;
  }
  // zlib packs at most 1,032 to 1
  return part.packed_from == 0 || part.size / 1100 <= section.size;
}

}  // namespace

std::unique_ptr<DebugImage> DebugImage::build(const ElfFile& file) {
  std::vector<Part> parts;
  bool information = false;
  for (const ElfSection& section : file.sections()) {
    if (section.type == SHT_NOBITS || section.size == 0 || parts.size() >= kMaxSections) continue;
    std::string_view name = section.name;
    if (name.starts_with(".zdebug_"))
      name.remove_prefix(8);
    else if (name.starts_with(".debug_"))
      name.remove_prefix(7);
    else if (name != ".gnu_debugaltlink")
      continue;
    const bool link = name == ".gnu_debugaltlink";
    if (!link && std::find(std::begin(kNeeded), std::end(kNeeded), name) == std::end(kNeeded)) continue;
    information |= name == "info";
    parts.push_back({link ? std::string(name) : ".debug_" + std::string(name), &section});
  }
  if (!information) return nullptr;

  // The image: ELF header, section headers, their names, then the sections.
  const size_t header_count = parts.size() + 2;  // the null section, the names
  std::string names(1, '\0');
  uint64_t size = sizeof(Elf64_Ehdr) + header_count * sizeof(Elf64_Shdr);
  std::vector<Elf64_Shdr> headers(header_count);
  for (size_t i = 0; i < parts.size(); ++i) {
    headers[i + 1].sh_name = static_cast<Elf64_Word>(names.size());
    names += parts[i].name + '\0';
  }
  headers.back().sh_name = static_cast<Elf64_Word>(names.size());
  names += std::string(".shstrtab") + '\0';
  const auto place = [&](Elf64_Shdr& header, Elf64_Word type, uint64_t bytes) {
    size = (size + 15) & ~uint64_t{15};
    header.sh_type = type;
    header.sh_addralign = 1;
    header.sh_offset = size;
    header.sh_size = bytes;
    size += bytes + kZeros;
  };
  place(headers.back(), SHT_STRTAB, names.size());
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!measure(file, parts[i]) || parts[i].size > kMaxImage) return nullptr;
    place(headers[i + 1], SHT_PROGBITS, parts[i].size);
    if (size > kMaxImage) return nullptr;
  }

  auto image = std::make_unique<DebugImage>();
  image->bytes_.reset(new (std::nothrow) char[size]);
  char* const bytes = image->bytes_.get();
  if (bytes == nullptr) return nullptr;
  Elf64_Ehdr head{};
  std::memcpy(head.e_ident, ELFMAG, SELFMAG);
  head.e_ident[EI_CLASS] = ELFCLASS64;
  head.e_ident[EI_DATA] = ELFDATA2LSB;
  head.e_ident[EI_VERSION] = EV_CURRENT;
  head.e_type = ET_EXEC;
  head.e_machine = file.machine();
  head.e_version = EV_CURRENT;
  head.e_ehsize = sizeof head;
  head.e_shoff = sizeof head;
  head.e_shentsize = sizeof(Elf64_Shdr);
  head.e_shnum = static_cast<Elf64_Half>(header_count);
  head.e_shstrndx = static_cast<Elf64_Half>(header_count - 1);
  std::memcpy(bytes, &head, sizeof head);
  std::memcpy(bytes + sizeof head, headers.data(), header_count * sizeof(Elf64_Shdr));
  std::copy(names.begin(), names.end(), bytes + headers.back().sh_offset);
  std::memset(bytes + headers.back().sh_offset + names.size(), 0, kZeros);
  for (size_t i = 0; i < parts.size(); ++i) {
    char* const out = bytes + headers[i + 1].sh_offset;
    const bool filled = parts[i].packed_from != 0 ? inflate_from(file, parts[i], out)
                                                  : read_exactly(file, parts[i].section->offset, out, parts[i].size);
    if (!filled) return nullptr;
    std::memset(out + parts[i].size, 0, kZeros);
  }
  image->elf_.reset(elf_memory(bytes, size));
  return image->elf_ ? std::move(image) : nullptr;
}

}  // namespace fiberprof
