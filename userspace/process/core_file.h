// SPDX-License-Identifier: BSD-2-Clause
// A core file, as the kernel or gdb's gcore writes it: memory, mappings, threads, and where its fibers are. Hostile
// input: bounded counts, every offset checked; a file that is cut short gives what it has.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "elf/elf_file.h"
#include "process/core_notes.h"
#include "process/maps.h"
#include "process/target.h"
#include "process/target_memory.h"
#include "support/error.h"

namespace fiberprof {

// How memory reads that the core should have and lacks (it was cut short).
enum class CoreGaps : uint8_t {
  fault,  // like memory that is not mapped
  zeros,  // as zeros, counted by lacking(): shows what there is, and must not be what a proof rests on
};

// Not thread-safe.
class CoreFile {
 public:
  // `executable`: the program, where it is not found at its own path; empty: at its own path. What the core left out
  // (code and constants, which are in files) is read from the files it names, only if they are still the ones that were
  // mapped: the same build id, or for the executable the same entry point.
  // Errors: not a core file, of another architecture, compressed; `executable` is not the program it was taken of.
  static Result<std::shared_ptr<CoreFile>> open(const std::string& path, const std::string& executable = {});

  const std::string& path() const { return path_; }
  uint32_t pid() const { return notes_.pid; }
  const std::string& name() const { return notes_.name; }        // comm; the program's where the core does not say
  int signal() const { return notes_.signal; }                   // that ended it; 0: none
  const std::string& executable() const { return executable_; }  // path as the process saw it; may be empty
  const std::vector<CoreThread>& threads() const { return notes_.threads; }
  const std::map<uint64_t, uint64_t>& auxv() const { return notes_.auxv; }
  // In ascending order of address. Inode numbers are made up: one for each path.
  const std::vector<Mapping>& mappings() const { return maps_; }

  // Fills `out` whole, or says why not.
  ReadStatus read(uint64_t address, std::span<char> out, CoreGaps gaps = CoreGaps::fault) const;
  // The same as TargetMemory; each keeps the core alive.
  static std::unique_ptr<TargetMemory> memory(std::shared_ptr<const CoreFile> core, CoreGaps gaps = CoreGaps::fault);

  // The file behind a mapping, for ProcessSymbols::from; none when it is gone or another one by now.
  UniqueFd open_file(const Mapping& mapping) const;

  // The fiber runtime in it. Without the program's file its registry is found by its magic, and `binary` is empty.
  // Errors: it has none.
  Result<FiberProcess> find_fibers() const;

  uint64_t missing() const { return missing_; }  // bytes of memory that were cut off the end of the file
  uint64_t lacking() const { return lacking_; }  // bytes that were read as zeros
  // For people, a line each: files that are gone or have changed, a file that was cut short.
  std::vector<std::string> remarks() const;

 private:
  // A stretch of memory and where its bytes are.
  struct Piece {
    uint64_t start = 0, end = 0;
    enum class In : uint8_t { core, file, cut } in = In::core;
    uint64_t offset = 0;  // in the core or in the file
    size_t file = 0;      // index into files_
    bool writable = false;
  };
  // A mapped file by its path in the process.
  struct File {
    std::string path;
    bool deleted = false;
    uint64_t first_start = 0, first_offset = 0;  // of its lowest mapping
    std::string open_as;                         // where it is looked for
    bool code = false;                           // some of it is mapped as code
    mutable bool tried = false;
    mutable std::unique_ptr<ElfFile> elf;  // null: not to be used
    mutable std::string problem;
  };

  explicit CoreFile(ElfFile elf) : elf_(std::move(elf)) {}
  Result<void> load(const std::string& wanted);
  void add_files();
  void add_uncovered_files();
  void name_mapping(const CoreFileRange& range, Mapping& mapping) const;
  void name_special();
  Result<void> find_executable(const std::string& wanted);
  Result<void> check_executable(const std::string& wanted) const;
  const ElfFile* file(size_t index) const;
  std::string mismatch(const File& file, const ElfFile& elf) const;
  // Hex; empty: the memory of its first page is not in the core.
  std::string build_id_in_memory(const File& file) const;
  size_t read_piece(const Piece& piece, uint64_t address, std::span<char> out, CoreGaps gaps) const;
  uint64_t registry_by_magic() const;

  ElfFile elf_;
  std::string path_, executable_;
  CoreNotes notes_;
  std::vector<Piece> pieces_;  // ascending, apart from each other
  std::vector<File> files_;
  std::map<std::string, size_t> file_of_path_;
  std::vector<Mapping> maps_;
  uint64_t missing_ = 0;
  mutable uint64_t lacking_ = 0;
};

}  // namespace fiberprof
