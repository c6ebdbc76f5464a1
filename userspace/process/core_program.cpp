// SPDX-License-Identifier: BSD-2-Clause
// The program a core file was taken of: its binaries, checked, and the fiber runtime in them.
#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "process/core_file.h"
#include "process/registry_layout.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kMaxHeaderNotes = 64U << 10;

std::string hex(std::string_view bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

}  // namespace

const ElfFile* CoreFile::file(size_t index) const {
  if (index >= files_.size()) return nullptr;
  const File& file = files_[index];
  if (file.tried) return file.elf.get();
  file.tried = true;
  UniqueFd fd = open_regular(file.open_as);
  if (!fd) {
    file.problem = "cannot open " + file.open_as + ": " + std::strerror(errno);
    return nullptr;
  }
  auto elf = ElfFile::open(std::move(fd), file.open_as);
  if (!elf) {
    file.problem = elf.error().message();
    return nullptr;
  }
  file.problem = mismatch(file, *elf);
  if (file.problem.empty()) file.elf = std::make_unique<ElfFile>(std::move(*elf));
  return file.elf.get();
}

std::string CoreFile::mismatch(const File& file, const ElfFile& elf) const {
  const std::string changed = file.open_as + " is not the file that was mapped: ";
  const std::string mapped = build_id_in_memory(file);
  if (!mapped.empty() && !elf.build_id().empty()) {
    if (mapped == elf.build_id()) return {};
    return changed + "its build id is " + elf.build_id() + ", that of the core's program " + mapped;
  }
  if (file.path == executable_) {
    const auto entry = notes_.auxv.find(AT_ENTRY), headers = notes_.auxv.find(AT_PHDR);
    GElf_Ehdr header;
    if (entry != notes_.auxv.end() && headers != notes_.auxv.end() && gelf_getehdr(elf.handle(), &header) != nullptr) {
      const auto headers_at = elf.vaddr_of(header.e_phoff);
      if (!headers_at || entry->second - header.e_entry != headers->second - *headers_at)
        return changed + "it begins somewhere else";
    }
  }
  return file.deleted ? changed + "that one has been deleted, and neither has a build id" : "";
}

std::string CoreFile::build_id_in_memory(const File& file) const {
  if (file.first_offset != 0) return {};
  // Only from the core itself: what would be read from the file proves nothing about it.
  const auto in_core = [&](uint64_t address, uint64_t size) {
    const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), address,
                                        [](uint64_t at, const Piece& piece) { return at < piece.start; });
    if (after == pieces_.begin()) return false;
    const Piece& piece = *std::prev(after);
    return piece.in == Piece::In::core && address < piece.end && size <= piece.end - address;
  };
  Elf64_Ehdr header;
  if (!in_core(file.first_start, sizeof header) ||
      read(file.first_start, {reinterpret_cast<char*>(&header), sizeof header}) != ReadStatus::ok ||
      std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_phentsize != sizeof(Elf64_Phdr))
    return {};
  std::vector<Elf64_Phdr> programs(std::min<size_t>(header.e_phnum, 256));
  const uint64_t bytes = programs.size() * sizeof(Elf64_Phdr);
  if (!in_core(file.first_start + header.e_phoff, bytes) ||
      read(file.first_start + header.e_phoff, {reinterpret_cast<char*>(programs.data()), bytes}) != ReadStatus::ok)
    return {};
  for (const Elf64_Phdr& program : programs) {
    // Notes in the first page, where the file's offset is the distance from its beginning.
    if (program.p_type != PT_NOTE || program.p_filesz > kMaxHeaderNotes) continue;
    std::string notes(program.p_filesz, '\0');
    if (!in_core(file.first_start + program.p_offset, notes.size()) ||
        read(file.first_start + program.p_offset, notes) != ReadStatus::ok)
      continue;
    for (const ElfNote& note : parse_notes(notes))
      if (note.type == NT_GNU_BUILD_ID && note.name == "GNU" && !note.description.empty() &&
          note.description.size() <= 64)
        return hex(note.description);
  }
  return {};
}

Result<void> CoreFile::find_executable(const std::string& wanted) {
  for (const uint64_t key : {AT_PHDR, AT_ENTRY}) {
    const auto address = notes_.auxv.find(key);
    if (address == notes_.auxv.end()) continue;
    const auto after = std::upper_bound(notes_.files.begin(), notes_.files.end(), address->second,
                                        [](uint64_t at, const CoreFileRange& file) { return at < file.start; });
    if (after == notes_.files.begin() || address->second >= std::prev(after)->end) continue;
    executable_ = std::prev(after)->path;
    break;
  }
  if (wanted.empty()) return {};
  if (executable_.empty())
    return fail("cannot use " + wanted + " with core file " + path_, "the core does not say of what program it is");
  files_[file_of_path_.at(executable_)].open_as = wanted;
  return {};
}

Result<void> CoreFile::check_executable(const std::string& wanted) const {
  if (wanted.empty()) return {};
  const size_t index = file_of_path_.at(executable_);
  if (file(index) != nullptr) return {};
  return fail("cannot use " + wanted + " with core file " + path_, files_[index].problem,
              "the core was taken of " + executable_);
}

UniqueFd CoreFile::open_file(const Mapping& mapping) const {
  const ElfFile* const elf = mapping.is_file() ? file(mapping.inode - 1) : nullptr;
  return elf == nullptr ? UniqueFd() : UniqueFd(fcntl(elf->fd(), F_DUPFD_CLOEXEC, 0));
}

Result<FiberProcess> CoreFile::find_fibers() const {
  FiberProcess process;
  process.pid = pid();
  process.name = name();
  bool found = false, unreadable = false;
  for (const Mapping& mapping : maps_) {
    if (!mapping.executable || !mapping.is_file()) continue;
    const ElfFile* const elf = file(mapping.inode - 1);
    unreadable |= elf == nullptr;
    if (elf == nullptr) continue;
    FiberBinary binary = read_fiber_binary(*elf);
    if (binary.probes.empty()) continue;
    if (found && !binary.registry) continue;
    const auto bias = load_bias_of(mapping, binary.segments);
    process.load_bias = bias.value_or(0);
    process.registry_address = bias && binary.registry ? *bias + *binary.registry : 0;
    process.binary_path = mapping.path;
    process.binary = std::move(binary);
    if (UniqueFd copy = open_file(mapping)) {
      process.binary.path = "/proc/self/fd/" + std::to_string(copy.get());
      process.file = std::make_shared<const UniqueFd>(std::move(copy));
    }
    found = true;
    if (process.registry_address != 0) return process;
  }
  if (unreadable || !found) process.registry_address = registry_by_magic();
  if (process.registry_address != 0) return process;
  const std::string what = "core file " + path_ + " (" + sanitize(name()) + ") has no fiber runtime in it";
  if (missing_ != 0) return fail(what, "or it is in what was cut off: the core file is cut short");
  return fail(what, unreadable ? "or in a file that cannot be read" : "",
              unreadable ? "name the program with --exe" : "is the program linked with libfiberrt?");
}

// Where no file tells: a well-formed registry in what the core has of writable memory.
uint64_t CoreFile::registry_by_magic() const {
  constexpr size_t kBlock = 1U << 20;
  const std::string_view magic(FIBERPROF_REGISTRY_MAGIC, sizeof fiberprof_registry::magic);
  std::string block(kBlock + sizeof(fiberprof_registry), '\0');
  uint64_t left = 2 * elf_.file_size();  // segments that share their bytes are a lie
  for (const Piece& piece : pieces_) {
    if (piece.in != Piece::In::core || !piece.writable) continue;
    for (uint64_t at = piece.start; at < piece.end;) {
      // Holes, memory that was never written, are most of a big core.
      const uint64_t offset = piece.offset + (at - piece.start);
      const off_t data = ::lseek(elf_.fd(), static_cast<off_t>(offset), SEEK_DATA);
      if (data < 0 || static_cast<uint64_t>(data) - piece.offset >= piece.end - piece.start) break;
      at += (static_cast<uint64_t>(data) - offset) / sizeof(uint64_t) * sizeof(uint64_t);
      const auto size = static_cast<size_t>(std::min<uint64_t>(block.size(), piece.end - at));
      if (read(at, {block.data(), size}) != ReadStatus::ok) break;
      const std::string_view bytes(block.data(), size);
      for (size_t hit = bytes.find(magic); hit != std::string_view::npos; hit = bytes.find(magic, hit + 1))
        if ((at + hit) % 8 == 0 && RegistryLayout::parse(block.data() + hit, size - hit)) return at + hit;
      at += kBlock;
      if (left < size) return 0;
      left -= size;
    }
  }
  return 0;
}

}  // namespace fiberprof
