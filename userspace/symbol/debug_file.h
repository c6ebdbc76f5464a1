// SPDX-License-Identifier: BSD-2-Clause
// Separate debug information, found on this machine only: never over the network.
#pragma once

#include <optional>
#include <string>

#include "elf/elf_file.h"

namespace fiberprof {

// The file that holds the debug information split off from `file`, if there is one:
//   /usr/lib/debug/.build-id/xx/yyyy.debug, by build-id;
//   by .gnu_debuglink in the directory of the binary, its .debug directory and /usr/lib/debug/DIRECTORY.
// Each is looked for under the target's root (`root_fd`, a directory; negative: none) and then under our own. A file
// is taken only when its build-id (or else its checksum) fits. `target_path`: the binary as the target sees it.
std::optional<ElfFile> find_debug_file(const ElfFile& file, const std::string& target_path, int root_fd);

// The file that several debug files share (dwz), named by .gnu_debugaltlink. nullopt: none is needed or none is found.
std::optional<ElfFile> find_alternate_file(const ElfFile& debug, int root_fd);

}  // namespace fiberprof
