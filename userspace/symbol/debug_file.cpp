// SPDX-License-Identifier: BSD-2-Clause
#include "symbol/debug_file.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <zlib.h>

#include <cstring>
#include <vector>

namespace fiberprof {
namespace {

// Opens a regular file below `root` (which absolute symbolic links do not leave), or in our own root when negative.
UniqueFd open_below(int root, const std::string& path) {
  struct open_how how {};
  how.flags = O_PATH | O_CLOEXEC;
  how.resolve = root >= 0 ? RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS : RESOLVE_NO_MAGICLINKS;
  const UniqueFd handle(
      static_cast<int>(syscall(SYS_openat2, root >= 0 ? root : AT_FDCWD, path.c_str(), &how, sizeof how)));
  struct stat info {};
  if (!handle || fstat(handle.get(), &info) != 0 || !S_ISREG(info.st_mode)) return {};
  return UniqueFd(::open(("/proc/self/fd/" + std::to_string(handle.get())).c_str(), O_RDONLY | O_CLOEXEC));
}

uint32_t checksum(const ElfFile& file) {
  uLong crc = crc32(0, nullptr, 0);
  for (uint64_t at = 0; at < file.file_size();) {
    const std::string bytes = file.read(at, 1 << 20);
    if (bytes.empty()) break;
    crc = crc32(crc, reinterpret_cast<const Bytef*>(bytes.data()), static_cast<uInt>(bytes.size()));
    at += bytes.size();
  }
  return static_cast<uint32_t>(crc);
}

std::optional<ElfFile> open_if(int root, const std::string& path, const std::string& build_id,
                               const std::optional<uint32_t>& crc) {
  auto fd = open_below(root, path);
  if (!fd) return std::nullopt;
  auto file = ElfFile::open(std::move(fd), path);
  if (!file) return std::nullopt;
  if (!build_id.empty() && !file->build_id().empty()) {
    if (file->build_id() != build_id) return std::nullopt;
  } else if (!crc || checksum(*file) != *crc) {
    return std::nullopt;
  }
  return std::move(*file);
}

std::string build_id_path(const std::string& build_id) {
  return "/usr/lib/debug/.build-id/" + build_id.substr(0, 2) + "/" + build_id.substr(2) + ".debug";
}

std::string directory_of(const std::string& path) { return path.substr(0, path.rfind('/') + 1); }

}  // namespace

std::optional<ElfFile> find_debug_file(const ElfFile& file, const std::string& target_path, int root_fd) {
  std::vector<int> roots;
  if (root_fd >= 0) roots.push_back(root_fd);
  roots.push_back(-1);
  const std::string& id = file.build_id();
  if (id.size() > 2)
    for (const int root : roots)
      if (auto found = open_if(root, build_id_path(id), id, std::nullopt)) return found;

  const ElfSection* link = file.section(".gnu_debuglink");
  if (link == nullptr) return std::nullopt;
  const std::string_view bytes = file.contents(*link);  // name, zero, padding to 4, crc32
  const size_t end = bytes.find('\0');
  if (end == std::string_view::npos || end == 0 || bytes.size() < ((end + 4) & ~size_t{3}) + 4) return std::nullopt;
  const std::string name(bytes.substr(0, end));
  if (name.find('/') != std::string::npos) return std::nullopt;
  uint32_t crc;
  std::memcpy(&crc, bytes.data() + ((end + 4) & ~size_t{3}), sizeof crc);
  const std::string directory = directory_of(target_path);
  const std::string beside = directory + name, hidden = directory + ".debug/" + name;
  const std::string central = "/usr/lib/debug" + beside;
  for (const int root : roots)
    for (const std::string& path : {beside, hidden, central})
      if (path != target_path)
        if (auto found = open_if(root, path, id, crc)) return found;
  return std::nullopt;
}

std::optional<ElfFile> find_alternate_file(const ElfFile& debug, int root_fd) {
  const ElfSection* link = debug.section(".gnu_debugaltlink");
  if (link == nullptr) return std::nullopt;
  const std::string_view bytes = debug.contents(*link);  // name, zero, build-id as raw bytes
  const size_t end = bytes.find('\0');
  if (end == std::string_view::npos || end + 3 > bytes.size() || bytes.size() - end > 65) return std::nullopt;
  std::string id;
  for (const char c : bytes.substr(end + 1)) {
    static constexpr char kDigits[] = "0123456789abcdef";
    id += kDigits[static_cast<unsigned char>(c) >> 4];
    id += kDigits[static_cast<unsigned char>(c) & 15];
  }
  std::string name(bytes.substr(0, end));
  if (!name.starts_with('/')) name = directory_of(debug.path()) + name;
  for (const int root : {root_fd, -1})
    for (const std::string& path : {build_id_path(id), name})
      if (auto found = open_if(root, path, id, std::nullopt)) return found;
  return std::nullopt;
}

}  // namespace fiberprof
