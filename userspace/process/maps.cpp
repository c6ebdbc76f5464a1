// SPDX-License-Identifier: BSD-2-Clause
#include "process/maps.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "process/proc.h"

namespace fiberprof {
namespace {

// The kernel's own limit is 65,530 mappings unless raised; this bounds what a process can make us hold.
constexpr size_t kMaxMapsBytes = 512U << 20;

// A number in `base`, followed by `end`; both are taken off the front of `text`.
bool take(std::string_view& text, uint64_t& value, int base, char end) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || stop == text.data() + text.size() || *stop != end) return false;
  text.remove_prefix(static_cast<size_t>(stop - text.data()) + 1);
  return true;
}

// The kernel writes a line end inside a path as \012, and nothing else.
std::string unescape(std::string_view path) {
  std::string out;
  for (size_t at = 0; at < path.size();) {
    if (path.substr(at, 4) == "\\012") {
      out += '\n';
      at += 4;
    } else {
      out += path[at++];
    }
  }
  return out;
}

}  // namespace

UniqueFd open_regular(const std::string& path, uint64_t inode) {
  const UniqueFd handle(::open(path.c_str(), O_PATH | O_CLOEXEC));
  struct stat info {};
  if (!handle || fstat(handle.get(), &info) != 0) return {};
  if (!S_ISREG(info.st_mode) || (inode != 0 && info.st_ino != inode)) {
    errno = ENOENT;
    return {};
  }
  return UniqueFd(::open(("/proc/self/fd/" + std::to_string(handle.get())).c_str(), O_RDONLY | O_CLOEXEC));
}

std::optional<Mapping> parse_mapping(std::string_view line) {
  // 7f0000000000-7f0000001000 r-xp 00001000 fe:01 1234      /usr/lib/libx.so (deleted)
  Mapping mapping;
  uint64_t major_number = 0, minor_number = 0;
  if (!take(line, mapping.start, 16, '-') || !take(line, mapping.end, 16, ' ')) return std::nullopt;
  if (line.size() < 5 || line[4] != ' ' || mapping.end <= mapping.start) return std::nullopt;
  mapping.readable = line[0] == 'r';
  mapping.writable = line[1] == 'w';
  mapping.executable = line[2] == 'x';
  mapping.shared = line[3] == 's';
  line.remove_prefix(5);
  if (!take(line, mapping.offset, 16, ' ') || !take(line, major_number, 16, ':') || !take(line, minor_number, 16, ' '))
    return std::nullopt;
  const auto [stop, error] = std::from_chars(line.data(), line.data() + line.size(), mapping.inode, 10);
  if (error != std::errc()) return std::nullopt;
  line.remove_prefix(static_cast<size_t>(stop - line.data()));
  mapping.device = makedev(static_cast<unsigned>(major_number), static_cast<unsigned>(minor_number));
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  constexpr std::string_view kDeleted = " (deleted)";
  if (mapping.inode != 0 && line.ends_with(kDeleted)) {
    mapping.deleted = true;
    line.remove_suffix(kDeleted.size());
  }
  mapping.path = unescape(line);
  return mapping;
}

Result<std::vector<Mapping>> read_maps(uint32_t pid) {
  auto text = read_proc_file(pid, "maps", kMaxMapsBytes);
  if (!text) return tl::unexpected(text.error());
  std::vector<Mapping> maps;
  std::string_view rest = *text;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    if (auto mapping = parse_mapping(rest.substr(0, end))) maps.push_back(std::move(*mapping));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  if (maps.empty()) return tl::unexpected(why_without_memory(pid));
  return maps;
}

const Mapping* find_mapping(const std::vector<Mapping>& maps, uint64_t address) {
  const auto after = std::upper_bound(maps.begin(), maps.end(), address,
                                      [](uint64_t value, const Mapping& mapping) { return value < mapping.start; });
  if (after == maps.begin()) return nullptr;
  const Mapping& mapping = *std::prev(after);
  return address < mapping.end ? &mapping : nullptr;
}

Result<MappedFile> open_mapped_file(uint32_t pid, const Mapping& mapping) {
  const std::string proc = "/proc/" + std::to_string(pid);
  char range[64];
  std::snprintf(range, sizeof range, "/map_files/%llx-%llx", static_cast<unsigned long long>(mapping.start),
                static_cast<unsigned long long>(mapping.end));
  // The plain path serves a chrooted target, whose maps show paths from our root. map_files is always right but needs
  // CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE.
  struct Candidate {
    std::string path;
    uint64_t inode;
  };
  std::vector<Candidate> candidates{{proc + "/root" + mapping.path, mapping.inode}};
  if (mapping.deleted) candidates.push_back({proc + "/root" + mapping.path + " (deleted)", mapping.inode});
  candidates.push_back({mapping.path, mapping.inode});
  candidates.push_back({proc + range, 0});
  candidates.push_back({proc + "/exe", mapping.inode});
  // Some file systems (overlayfs, btrfs) show another inode number in maps than stat does; a path that is not marked
  // as deleted still names the mapped file.
  if (!mapping.deleted) candidates.push_back({proc + "/root" + mapping.path, 0});
  for (const Candidate& candidate : candidates)
    if (UniqueFd fd = open_regular(candidate.path, candidate.inode)) return MappedFile{std::move(fd), candidate.path};
  return fail("cannot open " + mapping.path + ", which process " + std::to_string(pid) + " has mapped",
              mapping.deleted ? "it has been deleted or replaced" : std::strerror(errno), permission_hint());
}

}  // namespace fiberprof
