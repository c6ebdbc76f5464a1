// SPDX-License-Identifier: BSD-2-Clause
// What the tool must know of a binary that holds a fiber runtime: its probes (contract one) and where its registry
// is (contract two).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "elf/elf_file.h"
#include "support/error.h"

namespace fiberprof {

// Distances from a probe's site to the nop forms that include/fiberprof/probes.h emits on x86-64.
inline constexpr uint64_t kNop1At = 0, kNop10At = 1, kNop5At = 11;

struct Probe {
  std::string name;               // "park"
  uint64_t offset = 0;            // file offset of the site: what perf_event_open and libbpf attach to
  uint64_t semaphore_offset = 0;  // file offset of the 16-bit semaphore (ref_ctr_offset); 0: none
  std::string arguments;          // as in the note: "8@%rdi 8@%rsi"
  // Which nop forms the bytes at the site really are; on AArch64 nop1 stands for the one nop.
  bool nop1 = false, nop10 = false, nop5 = false;
  // Empty when the probe is what probes.h makes of this name, so that a BPF program may read argument i straight from
  // register i; else why it is not ("argument 2 is '4@-8(%rbp)', not '8@%rdx'"). Such a probe must not be attached.
  std::string mismatch;
};

struct FiberBinary {
  std::string path;  // as opened by this process; good for attaching while the target lives
  uint64_t device = 0, inode = 0;
  std::string build_id;  // hex, may be empty
  uint16_t machine = 0;  // EM_*
  std::vector<ElfSegment> segments;
  std::vector<Probe>
      probes;  // those of provider "fiber", in the order of the notes; more than one site may share a name
  std::optional<uint64_t> registry;  // link-time address; add the load bias

  const Probe* probe(std::string_view name) const;  // the first usable site of that name, or null
};

// A binary without probes is not an error: `probes` is then empty. Errors: cannot open, not an ELF file.
Result<FiberBinary> read_fiber_binary(const std::string& path);
FiberBinary read_fiber_binary(const ElfFile& file);

}  // namespace fiberprof
