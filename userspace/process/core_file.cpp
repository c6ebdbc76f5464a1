// SPDX-License-Identifier: BSD-2-Clause
#include "process/core_file.h"

#include <elf.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "support/text.h"

namespace fiberprof {
namespace {

// The kernel's own limit is 65,530 mappings unless raised.
constexpr size_t kMaxSegments = 1U << 20;
constexpr size_t kMaxRemarks = 8;

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#else
constexpr uint16_t kMachine = EM_AARCH64;
#endif

tl::unexpected<Error> bad(const std::string& path, std::string why, std::string hint = {}) {
  return fail("cannot read core file " + path, std::move(why), std::move(hint));
}

// By the first bytes; empty: not one of the usual formats.
std::string compression(const std::string& path) {
  const UniqueFd fd = open_regular(path);
  unsigned char magic[6] = {};
  if (!fd || ::pread(fd.get(), magic, sizeof magic, 0) != sizeof magic) return {};
  static constexpr struct {
    std::string_view magic, name;
  } kFormats[] = {
      {"\x28\xb5\x2f\xfd", "zstd"}, {"\x1f\x8b", "gzip"}, {"\xfd\x37zXZ", "xz"}, {"\x04\x22\x4d\x18", "lz4"}};
  const std::string_view begin(reinterpret_cast<const char*>(magic), sizeof magic);
  for (const auto& format : kFormats)
    if (begin.starts_with(format.magic)) return std::string(format.name);
  return {};
}

// pread of all of `out`; how much there was.
size_t read_at(int fd, uint64_t offset, std::span<char> out) {
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::pread(fd, out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

// A core's memory for those that read live processes, too.
class CoreMemory final : public TargetMemory {
 public:
  CoreMemory(std::shared_ptr<const CoreFile> core, CoreGaps gaps) : core_(std::move(core)), gaps_(gaps) {}
  ReadStatus read(uint64_t address, std::span<char> out) override { return core_->read(address, out, gaps_); }
  std::string label() const override {
    std::string text = "core file " + sanitize(core_->path());
    if (!core_->name().empty()) text += " (" + sanitize(core_->name()) + ")";
    return text;
  }

 private:
  std::shared_ptr<const CoreFile> core_;
  CoreGaps gaps_;
};

}  // namespace

Result<std::shared_ptr<CoreFile>> CoreFile::open(const std::string& path, const std::string& executable) {
  UniqueFd fd = open_regular(path);
  if (!fd) return bad(path, errno == ENOENT && access(path.c_str(), F_OK) == 0 ? "not a file" : std::strerror(errno));
  auto elf = ElfFile::open(std::move(fd), path);
  if (!elf) {
    const std::string format = compression(path);
    if (format.empty()) return bad(path, elf.error().why, "");
    return bad(path, "it is compressed with " + format, "decompress it first, or take it out with coredumpctl dump");
  }
  if (elf->type() == ET_EXEC || elf->type() == ET_DYN)
    return bad(path, "it is a program or a library, not a core file",
               "a program goes with its core: --core CORE --exe " + path);
  if (elf->type() != ET_CORE) return bad(path, "it is not a core file");
  if (elf->machine() != kMachine) return bad(path, "it is of another processor architecture");
  const std::shared_ptr<CoreFile> core(new CoreFile(std::move(*elf)));
  core->path_ = path;
  if (auto loaded = core->load(executable); !loaded) return tl::unexpected(loaded.error());
  return core;
}

Result<void> CoreFile::load(const std::string& wanted) {
  size_t count = 0;
  if (elf_getphdrnum(elf_.handle(), &count) != 0 || count == 0) return bad(path_, "its program headers are cut off");
  if (count > kMaxSegments) return bad(path_, "it claims an impossible number of segments");
  std::vector<GElf_Phdr> loads;
  for (size_t i = 0; i < count; ++i) {
    GElf_Phdr header;
    if (gelf_getphdr(elf_.handle(), static_cast<int>(i), &header) == nullptr)
      return bad(path_, "its program headers are cut off");
    if (header.p_type == PT_NOTE) read_core_notes(elf_, header.p_offset, header.p_filesz, notes_);
    if (header.p_type == PT_LOAD && header.p_memsz != 0 && header.p_vaddr + header.p_memsz > header.p_vaddr &&
        header.p_offset + header.p_filesz >= header.p_offset)
      loads.push_back(header);
  }
  if (loads.empty()) return bad(path_, "it has no memory in it");
  add_files();
  if (auto found = find_executable(wanted); !found) return found;
  std::stable_sort(loads.begin(), loads.end(), [](const auto& a, const auto& b) { return a.p_vaddr < b.p_vaddr; });
  uint64_t last_end = 0;
  for (const GElf_Phdr& load : loads) {
    if (load.p_vaddr < last_end) continue;  // a lie: mappings do not overlap
    Mapping mapping;
    mapping.start = load.p_vaddr;
    mapping.end = last_end = load.p_vaddr + load.p_memsz;
    mapping.readable = (load.p_flags & PF_R) != 0;
    mapping.writable = (load.p_flags & PF_W) != 0;
    mapping.executable = (load.p_flags & PF_X) != 0;
    const auto range = std::upper_bound(notes_.files.begin(), notes_.files.end(), mapping.start,
                                        [](uint64_t at, const CoreFileRange& file) { return at < file.start; });
    const CoreFileRange* const from =
        range != notes_.files.begin() && mapping.start < std::prev(range)->end ? &*std::prev(range) : nullptr;
    if (from != nullptr) name_mapping(*from, mapping);
    const bool from_file = mapping.is_file() && !mapping.writable;

    const uint64_t meant = std::min<uint64_t>(load.p_filesz, load.p_memsz);
    const uint64_t there = load.p_offset < elf_.file_size() ? std::min(meant, elf_.file_size() - load.p_offset) : 0;
    const uint64_t split = mapping.start + there;
    if (there != 0) pieces_.push_back({mapping.start, split, Piece::In::core, load.p_offset, 0, mapping.writable});
    if (from_file && split < mapping.end)
      pieces_.push_back({split, mapping.end, Piece::In::file, mapping.offset + there, mapping.inode - 1, false});
    else if (there < meant) {
      pieces_.push_back({split, mapping.start + meant, Piece::In::cut, 0, 0, mapping.writable});
      missing_ += meant - there;
    }
    maps_.push_back(std::move(mapping));
  }
  add_uncovered_files();
  name_special();
  if (notes_.name.empty()) notes_.name = executable_.substr(executable_.rfind('/') + 1);
  return check_executable(wanted);
}

void CoreFile::name_special() {
  using Special = std::pair<uint64_t, const char*>;
  for (const auto& [key, name] : {Special{AT_RANDOM, "[stack]"}, Special{AT_SYSINFO_EHDR, "[vdso]"}}) {
    const auto known = notes_.auxv.find(key);
    if (known == notes_.auxv.end()) continue;
    for (Mapping& mapping : maps_)
      if (mapping.path.empty() && known->second >= mapping.start && known->second < mapping.end) mapping.path = name;
  }
  for (const Mapping& mapping : maps_)
    if (mapping.executable && mapping.is_file()) files_[mapping.inode - 1].code = true;
}

void CoreFile::add_files() {
  std::vector<CoreFileRange>& ranges = notes_.files;
  std::stable_sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
  uint64_t last_end = 0;
  std::erase_if(ranges, [&](const CoreFileRange& range) {
    if (range.start < last_end) return true;
    last_end = range.end;
    return false;
  });
  std::map<std::string, size_t> known;
  for (const CoreFileRange& range : ranges) {
    const auto [entry, fresh] = known.emplace(range.path, files_.size());
    if (!fresh) continue;
    File file;
    file.path = file.open_as = range.path;
    file.deleted = range.deleted;
    file.first_start = range.start;
    file.first_offset = range.offset;
    files_.push_back(std::move(file));
  }
  file_of_path_ = std::move(known);
}

void CoreFile::name_mapping(const CoreFileRange& range, Mapping& mapping) const {
  mapping.path = range.path;
  mapping.deleted = range.deleted;
  mapping.offset = range.offset + (mapping.start - range.start);
  mapping.inode = file_of_path_.at(range.path) + 1;
}

// gdb's gcore has no segment for what is the same in the file. What may be done with it is what the file says.
void CoreFile::add_uncovered_files() {
  std::vector<Mapping> more;
  std::vector<Piece> pieces;
  for (const CoreFileRange& range : notes_.files) {
    const auto after = std::upper_bound(maps_.begin(), maps_.end(), range.start,
                                        [](uint64_t at, const Mapping& mapping) { return at < mapping.start; });
    if (after != maps_.begin() && range.start < std::prev(after)->end) continue;
    if (after != maps_.end() && after->start < range.end) continue;
    Mapping mapping;
    mapping.start = range.start;
    mapping.end = range.end;
    mapping.readable = true;
    name_mapping(range, mapping);
    const ElfFile* const elf = mapping.is_file() ? file(mapping.inode - 1) : nullptr;
    if (elf != nullptr)
      for (const ElfSegment& segment : elf->segments()) {
        if (range.offset >= segment.offset + segment.file_size ||
            range.offset + (range.end - range.start) <= segment.offset)
          continue;
        mapping.executable |= segment.executable;
        mapping.writable |= segment.writable;
      }
    if (elf != nullptr && !mapping.writable)
      pieces.push_back({mapping.start, mapping.end, Piece::In::file, mapping.offset, mapping.inode - 1, false});
    more.push_back(std::move(mapping));
  }
  maps_.insert(maps_.end(), more.begin(), more.end());
  std::sort(maps_.begin(), maps_.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
  pieces_.insert(pieces_.end(), pieces.begin(), pieces.end());
  std::sort(pieces_.begin(), pieces_.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
}

size_t CoreFile::read_piece(const Piece& piece, uint64_t address, std::span<char> out, CoreGaps gaps) const {
  const auto size = static_cast<size_t>(std::min<uint64_t>(out.size(), piece.end - address));
  const std::span<char> part = out.first(size);
  const uint64_t offset = piece.offset + (address - piece.start);
  switch (piece.in) {
    case Piece::In::core:
      return read_at(elf_.fd(), offset, part);
    case Piece::In::file: {
      const ElfFile* const elf = file(piece.file);
      if (elf == nullptr) return 0;
      const size_t got = read_at(elf->fd(), offset, part);
      // Behind the end of a file its last page is zeros.
      const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
      const uint64_t page_end = (elf->file_size() + page - 1) / page * page;
      if (got == size || offset + size > page_end) return got;
      std::fill(part.begin() + static_cast<ptrdiff_t>(got), part.end(), '\0');
      return size;
    }
    case Piece::In::cut:
      if (gaps != CoreGaps::zeros) return 0;
      std::fill(part.begin(), part.end(), '\0');
      lacking_ += size;
      return size;
  }
  return 0;
}

ReadStatus CoreFile::read(uint64_t address, std::span<char> out, CoreGaps gaps) const {
  while (!out.empty()) {
    const auto after = std::upper_bound(pieces_.begin(), pieces_.end(), address,
                                        [](uint64_t at, const Piece& piece) { return at < piece.start; });
    if (after == pieces_.begin() || address >= std::prev(after)->end) return ReadStatus::fault;
    const size_t got = read_piece(*std::prev(after), address, out, gaps);
    if (got == 0) return ReadStatus::fault;
    address += got;
    out = out.subspan(got);
  }
  return ReadStatus::ok;
}

std::unique_ptr<TargetMemory> CoreFile::memory(std::shared_ptr<const CoreFile> core, CoreGaps gaps) {
  return std::make_unique<CoreMemory>(std::move(core), gaps);
}

std::vector<std::string> CoreFile::remarks() const {
  std::vector<std::string> lines;
  if (missing_ != 0)
    lines.push_back("the core file is cut short: " + format_count(missing_) + " bytes of memory are missing");
  if (notes_.malformed != 0) lines.push_back(std::to_string(notes_.malformed) + " malformed notes were skipped");
  for (const File& file : files_)
    if (!file.problem.empty() && file.code && lines.size() < kMaxRemarks)
      lines.push_back(sanitize(file.problem) + (file.path == executable_ ? "; name the program with --exe" : ""));
  return lines;
}

}  // namespace fiberprof
