// SPDX-License-Identifier: BSD-2-Clause
// The memory mappings of a process, from /proc/PID/maps.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/error.h"
#include "support/unique_fd.h"

namespace fiberprof {

struct Mapping {
  uint64_t start = 0, end = 0, offset = 0;
  bool readable = false, writable = false, executable = false;
  bool shared = false;             // with whoever else maps the same
  uint64_t device = 0, inode = 0;  // inode 0: no file
  std::string path;                // as the target sees it; "[heap]", "[vdso]" …; without " (deleted)"
  bool deleted = false;

  bool is_file() const { return inode != 0 && !path.empty() && path[0] == '/'; }
};

// One line of /proc/PID/maps; nothing when it is not one.
std::optional<Mapping> parse_mapping(std::string_view line);

// In ascending order of address. Errors: no such process, no permission, kernel thread (no mappings).
Result<std::vector<Mapping>> read_maps(uint32_t pid);

// The mapping that holds `address` of a list in ascending order, or null.
const Mapping* find_mapping(const std::vector<Mapping>& maps, uint64_t address);

// A file that process `pid` has mapped, even when it is in another mount namespace or has been deleted or replaced:
// /proc/PID/root/…, then /proc/PID/map_files/…, then /proc/PID/exe; only the one with the mapping's inode is taken.
struct MappedFile {
  UniqueFd fd;
  std::string path;  // by which this process opened it
};
Result<MappedFile> open_mapped_file(uint32_t pid, const Mapping& mapping);

// Opens for reading only what is a regular file, with this inode (0: any): looking first keeps devices and fifos, to
// which a hostile path may lead, from being opened at all. Else none, and errno.
UniqueFd open_regular(const std::string& path, uint64_t inode = 0);

}  // namespace fiberprof
