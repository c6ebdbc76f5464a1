// SPDX-License-Identifier: BSD-2-Clause
// One ELF file, opened for reading. The file may be malformed or change while it is read: every offset and count is
// checked, the file is read (never mapped, so that a truncation is an error and not a SIGBUS), sizes are bounded.
#pragma once

#include <gelf.h>
#include <libelf.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "support/error.h"
#include "support/unique_fd.h"

namespace fiberprof {

// A PT_LOAD program header.
struct ElfSegment {
  uint64_t vaddr = 0, offset = 0, file_size = 0, memory_size = 0;
  bool executable = false, writable = false;
};

struct ElfSection {
  std::string name;
  uint32_t type = 0;
  uint64_t flags = 0, address = 0, offset = 0, size = 0;
  uint32_t link = 0, info = 0;
  size_t index = 0;
};

// One entry of a note section: `name` without its final zero, `description` as raw bytes.
struct ElfNote {
  uint32_t type = 0;
  std::string_view name;
  std::string_view description;
};

class ElfFile {
 public:
  // `path` is kept for messages and for finding separate debug files; it is not opened.
  // Errors: not a 64-bit little-endian ELF file, header tables that do not fit into the file.
  static Result<ElfFile> open(UniqueFd fd, std::string path);
  static Result<ElfFile> open(const std::string& path);

  const std::string& path() const { return path_; }
  int fd() const { return fd_.get(); }
  Elf* handle() const { return elf_.get(); }     // stays owned by this object
  uint16_t machine() const { return machine_; }  // EM_*
  uint16_t type() const { return type_; }        // ET_*
  uint64_t device() const { return device_; }
  uint64_t inode() const { return inode_; }
  uint64_t file_size() const { return file_size_; }

  const std::vector<ElfSegment>& segments() const { return segments_; }
  const std::vector<ElfSection>& sections() const { return sections_; }
  const ElfSection* section(std::string_view name) const;  // the first of that name, or null

  // Hex; empty when the file has none.
  const std::string& build_id() const { return build_id_; }

  // Between link-time addresses and file offsets, through PT_LOAD. Where two segments cover the same offset (they
  // may share a page) the executable one wins.
  std::optional<uint64_t> offset_of(uint64_t vaddr) const;
  std::optional<uint64_t> vaddr_of(uint64_t offset) const;

  // Raw contents of a section; empty when it has none, is compressed or does not fit into the file. Valid as long as
  // this object.
  std::string_view contents(const ElfSection& section) const;
  // Well-formed leading part of a note section.
  std::vector<ElfNote> notes(const ElfSection& section) const;
  // Bytes of the file; shorter than `size` at its end.
  std::string read(uint64_t offset, size_t size) const;

 private:
  struct ElfEnd {
    void operator()(Elf* elf) const { elf_end(elf); }
  };
  ElfFile() = default;
  Result<void> load();
  void load_segments();
  void load_sections();
  void load_build_id();

  UniqueFd fd_;  // before elf_: closed after it
  std::unique_ptr<Elf, ElfEnd> elf_;
  std::string path_, build_id_;
  uint16_t machine_ = 0, type_ = 0;
  uint64_t device_ = 0, inode_ = 0, file_size_ = 0;
  std::vector<ElfSegment> segments_;
  std::vector<ElfSection> sections_;
};

// Notes in raw bytes, up to the first that does not fit. The views point into `bytes`.
std::vector<ElfNote> parse_notes(std::string_view bytes);

}  // namespace fiberprof
