// SPDX-License-Identifier: BSD-2-Clause
#include "elf/fiber_binary.h"

#include <fiberprof/probes.h>
#include <fiberprof/registry.h>
#include <array>
#include <cstring>

#include "elf/symbol_table.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kMaxProbes = 4096;

using Words = std::array<uint64_t, 3>;

// The arguments that probes.h declares for a probe, or -1 for a name it does not know.
int declared_arguments(std::string_view probe) {
  static const struct {
    std::string_view name;
    int count;
  } kProbes[] = {
#define FIBERPROF_ROW(name, nargs, args) {#name, nargs},
      FIBERPROF_PROBES(FIBERPROF_ROW)
#undef FIBERPROF_ROW
  };
  for (const auto& known : kProbes)
    if (known.name == probe) return known.count;
  return -1;
}

const std::array<std::string_view, 7>* argument_words(uint16_t machine) {
  static constexpr std::array<std::string_view, 7> kX86{"8@%rdi", "8@%rsi", "8@%rdx", "8@%rcx",
                                                        "8@%r8",  "8@%r9",  "8@%r10"};
  static constexpr std::array<std::string_view, 7> kArm{"8@x0", "8@x1", "8@x2", "8@x3", "8@x4", "8@x5", "8@x6"};
  return machine == EM_X86_64 ? &kX86 : machine == EM_AARCH64 ? &kArm : nullptr;
}

std::string check_arguments(const Probe& probe, uint16_t machine) {
  const int count = declared_arguments(probe.name);
  if (count < 0) return "no probe of this name is known";
  const auto* expected = argument_words(machine);
  if (expected == nullptr) return "this processor architecture is not supported";
  // Arguments may be appended by a newer runtime, so more than the declared ones are fine.
  std::string_view rest = probe.arguments;
  for (int i = 0; i < count; ++i) {
    const size_t end = std::min(rest.find(' '), rest.size());
    const std::string_view word = rest.substr(0, end);
    if (word != (*expected)[static_cast<size_t>(i)])
      return "argument " + std::to_string(i) + " is '" + fit(word, 40) + "', not '" +
             std::string((*expected)[static_cast<size_t>(i)]) + "'";
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return {};
}

// The next zero-terminated string of a note; empty optional when it does not end.
std::optional<std::string_view> take_string(std::string_view& bytes) {
  const size_t end = bytes.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  const std::string_view text = bytes.substr(0, end);
  bytes.remove_prefix(end + 1);
  return text;
}

void look_at_site(const ElfFile& file, Probe& probe) {
  const std::string code = file.read(probe.offset, 16);
  const auto at = [&](size_t position, std::string_view bytes) {
    return code.size() >= position + bytes.size() && std::string_view(code).substr(position, bytes.size()) == bytes;
  };
  if (file.machine() == EM_AARCH64) {
    probe.nop1 = at(0, {"\x1f\x20\x03\xd5", 4});
    return;
  }
  probe.nop1 = at(kNop1At, "\x90");
  probe.nop10 = at(kNop10At, {"\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00", 10});
  probe.nop5 = at(kNop5At, {"\x0f\x1f\x44\x00\x00", 5});
}

// How far prelink moved the file after the notes were written: 0 in nearly every file.
uint64_t prelink_shift(const ElfFile& file, uint64_t noted_base) {
  const ElfSection* base = file.section(".stapsdt.base");
  return base != nullptr && noted_base != 0 ? base->address - noted_base : 0;
}

std::optional<Probe> read_probe(const ElfFile& file, const ElfNote& note) {
  Words words;  // site, base, semaphore
  if (note.type != 3 || note.name != "stapsdt" || note.description.size() < sizeof words) return std::nullopt;
  std::memcpy(words.data(), note.description.data(), sizeof words);
  std::string_view rest = note.description.substr(sizeof words);
  const auto provider = take_string(rest);
  if (provider != FIBERPROF_PROVIDER) return std::nullopt;
  const auto name = take_string(rest), arguments = take_string(rest);
  if (!name || !arguments) return std::nullopt;

  Probe probe;
  probe.name = *name;
  probe.arguments = *arguments;
  const uint64_t shift = prelink_shift(file, words[1]);
  const uint64_t site = words[0] + shift;
  const auto offset = file.offset_of(site);
  bool executable = false;
  for (const ElfSegment& segment : file.segments())
    executable |= segment.executable && site >= segment.vaddr && site - segment.vaddr < segment.file_size;
  probe.mismatch = check_arguments(probe, file.machine());
  if (!offset || !executable) {
    probe.mismatch = "its address is not in the code of the file";
    return probe;
  }
  probe.offset = *offset;
  look_at_site(file, probe);
  if (words[2] != 0) {
    const auto semaphore = file.offset_of(words[2] + shift);
    if (semaphore) probe.semaphore_offset = *semaphore;
    if (!semaphore || *semaphore % 2 != 0) probe.mismatch = "its semaphore is not in the data of the file";
  }
  return probe;
}

// An address is believed only when it lies in loaded memory with room for the fixed head of the registry.
bool plausible_registry(const ElfFile& file, uint64_t address) {
  for (const ElfSegment& segment : file.segments()) {
    if (address < segment.vaddr || address - segment.vaddr >= segment.memory_size) continue;
    return address % 8 == 0 && segment.memory_size - (address - segment.vaddr) >= offsetof(fiberprof_registry, fields);
  }
  return false;
}

std::optional<uint64_t> find_registry(const ElfFile& file) {
  if (const ElfSection* section = file.section(".note.fiberprof")) {
    for (const ElfNote& note : file.notes(*section)) {
      uint64_t words[2];  // registry, base
      if (note.type != FIBERPROF_NOTE_REGISTRY || note.name != FIBERPROF_NOTE_NAME) continue;
      if (note.description.size() < sizeof words) continue;
      std::memcpy(words, note.description.data(), sizeof words);
      const uint64_t address = words[0] + prelink_shift(file, words[1]);
      if (plausible_registry(file, address)) return address;
    }
  }
  const auto address = find_symbol(file, FIBERPROF_REGISTRY_SYMBOL);
  return address && plausible_registry(file, *address) ? address : std::nullopt;
}

}  // namespace

const Probe* FiberBinary::probe(std::string_view name) const {
  for (const Probe& candidate : probes)
    if (candidate.name == name && candidate.mismatch.empty()) return &candidate;
  return nullptr;
}

FiberBinary read_fiber_binary(const ElfFile& file) {
  FiberBinary binary;
  binary.path = file.path();
  binary.device = file.device();
  binary.inode = file.inode();
  binary.build_id = file.build_id();
  binary.machine = file.machine();
  binary.segments = file.segments();
  for (const ElfSection& section : file.sections()) {
    if (section.name != ".note.stapsdt") continue;
    for (const ElfNote& note : file.notes(section)) {
      if (binary.probes.size() >= kMaxProbes) break;
      if (auto probe = read_probe(file, note)) binary.probes.push_back(std::move(*probe));
    }
  }
  if (!binary.probes.empty()) binary.registry = find_registry(file);
  return binary;
}

Result<FiberBinary> read_fiber_binary(const std::string& path) {
  auto file = ElfFile::open(path);
  if (!file) return tl::unexpected(file.error());
  return read_fiber_binary(*file);
}

}  // namespace fiberprof
