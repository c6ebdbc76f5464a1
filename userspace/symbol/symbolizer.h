// SPDX-License-Identifier: BSD-2-Clause
// Addresses of a process (or of the kernel) into names, file:line and inlined frames.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "process/maps.h"
#include "support/error.h"
#include "support/unique_fd.h"
#include "symbol/leaf_unwind.h"

namespace fiberprof {

struct Frame {
  std::string function;  // demangled; "binary+0x1234" when the binary is known but the function is not; never empty
  std::string file;      // source path, when debug information has it
  uint32_t line = 0;     // 0: unknown
  std::string binary;    // path of the mapping as the target sees it, "[kernel]", or empty
  std::string build_id;  // hex, may be empty
  uint64_t address = 0;  // address in the process (of the call, i.e. return address - 1 for outer frames)
  uint64_t mapping_start = 0, mapping_end = 0, mapping_offset = 0;  // the mapping it lies in
  bool inlined = false;                                             // inlined into the frame after it
  bool runtime = false;  // belongs to the fiber runtime (scheduler, park, channel internals): folded by default
};

// Symbols of one process. Keeps working after the process has exited for all binaries seen by `refresh` before.
// Not thread-safe.
class ProcessSymbols {
 public:
  // Reads /proc/PID/maps now. Errors: no such process, no permission.
  static Result<std::unique_ptr<ProcessSymbols>> open(uint32_t pid);
  // From code mappings that are known already, in ascending order, of a process that may have ended; refresh() then
  // does nothing. `open_file` gives the mapped file, or none.
  using OpenFile = std::function<UniqueFd(const Mapping&)>;
  static std::unique_ptr<ProcessSymbols> from(uint32_t pid, const std::vector<Mapping>& code,
                                              const OpenFile& open_file);
  virtual ~ProcessSymbols() = default;
  // Reads the maps again (new libraries); cheap when nothing changed.
  virtual void refresh() = 0;
  // Whether the address lies in code that this process has, or has had, mapped.
  virtual bool has_code_at(uint64_t address) const = 0;
  // Frames for one address, innermost inlined first; at least one. `is_return_address`: look up address - 1.
  virtual const std::vector<Frame>& resolve(uint64_t address, bool is_return_address) = 0;
  // A stack walked by frame pointers with the callers it had to skip at its inner end: see symbol/leaf_unwind.h.
  virtual std::vector<uint64_t> complete(const LeafSnapshot& leaf, const std::vector<uint64_t>& chain) = 0;
  // Frames of a whole stack, innermost first. As the kernel gives it, every address but the first is a return address;
  // a stack of RegistryView::stack() has return addresses only (`first_is_return`). With `fold_runtime` the runtime's
  // own frames are dropped except the call the program made (see symbol/runtime_names.h), but never all of them.
  std::vector<Frame> stack(const std::vector<uint64_t>& addresses, bool fold_runtime, bool first_is_return = false);
};

// Kernel symbols from /proc/kallsyms; "[kernel]+0x…" when they are hidden.
const Frame& kernel_frame(uint64_t address);

}  // namespace fiberprof
