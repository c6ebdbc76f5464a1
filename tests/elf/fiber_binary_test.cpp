// SPDX-License-Identifier: BSD-2-Clause
#include "elf/fiber_binary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fiberprof/probes.h>
#include <cstdio>
#include <cstring>
#include <map>
#include <random>
#include <set>

#include "elf/scratch_file.h"
#include "elf/symbol_table.h"

namespace fiberprof {
namespace {

using test::file_bytes;
using test::scratch_file;
using ::testing::HasSubstr;

const std::string kFixtures = FIBERPROF_BUILD_DIR "/tests/fixtures/";

std::string output_of(const std::string& command) {
  std::string text;
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return text;
  char buffer[4096];
  while (const size_t got = fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, got);
  EXPECT_EQ(pclose(pipe), 0) << command;
  return text;
}

uint64_t symbol_by_nm(const std::string& path, const std::string& name) {
  const std::string line = output_of("nm " + path + " | grep ' " + name + "$'");
  return std::strtoull(line.c_str(), nullptr, 16);
}

class EveryBuild : public ::testing::TestWithParam<const char*> {
 protected:
  std::string path = kFixtures + GetParam();
};

TEST_P(EveryBuild, HasEveryProbeWithItsNopsAndSemaphore) {
  const auto binary = read_fiber_binary(path);
  ASSERT_TRUE(binary) << binary.error().message();
  std::set<std::string> names;
  std::set<uint64_t> sites, semaphores;
  const std::string bytes = file_bytes(path);
  for (const Probe& probe : binary->probes) {
    names.insert(probe.name);
    sites.insert(probe.offset);
    semaphores.insert(probe.semaphore_offset);
    EXPECT_EQ(probe.mismatch, "") << probe.name;
    EXPECT_TRUE(probe.nop1) << probe.name;
#if defined(__x86_64__)
    EXPECT_TRUE(probe.nop10) << probe.name;
    EXPECT_TRUE(probe.nop5) << probe.name;
#endif
    ASSERT_LT(probe.semaphore_offset + 2, bytes.size());
    EXPECT_EQ(bytes[probe.semaphore_offset], 0) << probe.name;
    EXPECT_EQ(binary->probe(probe.name), &probe) << "each name has one site";
  }
  const std::set<std::string> expected{
#define NAME(name, nargs, args) #name,
      FIBERPROF_PROBES(NAME)
#undef NAME
  };
  EXPECT_EQ(names, expected);
  EXPECT_EQ(sites.size(), expected.size());
  EXPECT_EQ(semaphores.size(), expected.size());
  EXPECT_FALSE(binary->build_id.empty());
}

// The same file as binutils read it.
TEST_P(EveryBuild, AgreesWithReadelf) {
  const auto file = ElfFile::open(path);
  ASSERT_TRUE(file);
  const FiberBinary binary = read_fiber_binary(*file);
  const std::string notes = output_of("readelf -n " + path);
  for (const Probe& probe : binary.probes) {
    const size_t at = notes.find("Name: " + probe.name + "\n");
    ASSERT_NE(at, std::string::npos) << probe.name;
    unsigned long long location = 0, base = 0, semaphore = 0;
    ASSERT_EQ(std::sscanf(notes.c_str() + notes.find("Location:", at), "Location: %llx, Base: %llx, Semaphore: %llx",
                          &location, &base, &semaphore),
              3);
    EXPECT_EQ(file->vaddr_of(probe.offset), location) << probe.name;
    EXPECT_EQ(file->offset_of(semaphore), probe.semaphore_offset) << probe.name;
    EXPECT_THAT(notes.substr(at, 400), HasSubstr("Arguments: " + probe.arguments + "\n"));
  }
  EXPECT_THAT(notes, HasSubstr("Build ID: " + binary.build_id));
}

INSTANTIATE_TEST_SUITE_P(Elf, EveryBuild,
                         ::testing::Values("fiber_target", "fiber_target_no_pie", "fiber_target_no_note",
                                           "fiber_target_stripped", "libfiber_target.so", "small.so"));

TEST(FiberBinary, FindsTheRegistryByNoteOrSymbol) {
  for (const char* name : {"fiber_target", "fiber_target_no_pie", "fiber_target_no_note", "libfiber_target.so"}) {
    const auto binary = read_fiber_binary(kFixtures + name);
    ASSERT_TRUE(binary);
    EXPECT_EQ(binary->registry, symbol_by_nm(kFixtures + name, "fiberprof_registry")) << name;
  }
  const auto stripped = read_fiber_binary(kFixtures + "fiber_target_stripped");
  ASSERT_TRUE(stripped);
  EXPECT_EQ(stripped->registry, symbol_by_nm(kFixtures + "fiber_target", "fiberprof_registry"));
}

TEST(FiberBinary, WithoutProbesIsNoError) {
  const auto binary = read_fiber_binary(kFixtures + "plain");
  ASSERT_TRUE(binary);
  EXPECT_TRUE(binary->probes.empty());
  EXPECT_FALSE(binary->registry);
}

TEST(FiberBinary, WhatIsNoBinaryIsAnErrorWithAReason) {
  const auto missing = read_fiber_binary("/nonexistent/x");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message(), "cannot read /nonexistent/x: No such file or directory");
  const auto text = read_fiber_binary("/etc/passwd");
  ASSERT_FALSE(text);
  EXPECT_THAT(text.error().message(), HasSubstr("not an ELF file"));
  EXPECT_THAT(read_fiber_binary("/dev/zero").error().message(), HasSubstr("not a regular file"));
  EXPECT_THAT(read_fiber_binary("/").error().message(), HasSubstr("not a regular file"));
}

FiberBinary read_bytes(const std::string& bytes) {
  auto file = ElfFile::open(scratch_file(bytes), "scratch");
  EXPECT_TRUE(file);
  return file ? read_fiber_binary(*file) : FiberBinary();
}

// The bytes of the note of one probe: where its argument string is.
size_t arguments_at(const std::string& bytes, const std::string& probe) {
  const size_t at = bytes.find(std::string("fiber\0", 6) + probe + std::string("\0008@", 3));
  EXPECT_NE(at, std::string::npos);
  return at + 6 + probe.size() + 1;
}

TEST(FiberBinary, RefusesArgumentsThatAreNotInTheirRegisters) {
  std::string bytes = file_bytes(kFixtures + "small.so");
  bytes[arguments_at(bytes, "park")] = '4';
  const FiberBinary binary = read_bytes(bytes);
  EXPECT_EQ(binary.probe("park"), nullptr);
  EXPECT_NE(binary.probe("unpark"), nullptr);
  for (const Probe& probe : binary.probes)
    if (probe.name == "park") {
      EXPECT_THAT(probe.mismatch, HasSubstr("argument 0 is '4@"));
    }
}

TEST(FiberBinary, KnowsWhichNopsAreReallyThere) {
  const auto whole = read_fiber_binary(kFixtures + "small.so");
  ASSERT_TRUE(whole);
  std::string bytes = file_bytes(kFixtures + "small.so");
  const Probe* park = whole->probe("park");
  ASSERT_NE(park, nullptr);
#if defined(__x86_64__)
  bytes[park->offset + 12] = 0x1e;  // no longer the 5-byte nop
  const FiberBinary patched = read_bytes(bytes);
  ASSERT_NE(patched.probe("park"), nullptr);
  EXPECT_TRUE(patched.probe("park")->nop1);
  EXPECT_TRUE(patched.probe("park")->nop10);
  EXPECT_FALSE(patched.probe("park")->nop5);
#endif
}

// Prelink moves a file after its notes were written: every address in them is then off by the same amount, which the
// base address in them tells.
TEST(FiberBinary, UndoesPrelink) {
  const auto whole = read_fiber_binary(kFixtures + "small.so");
  ASSERT_TRUE(whole);
  std::string bytes = file_bytes(kFixtures + "small.so");
  const auto file = ElfFile::open(kFixtures + "small.so");
  ASSERT_TRUE(file);
  const auto shift = [&](size_t at) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + at, sizeof word);
    word -= 0x1000;
    std::memcpy(bytes.data() + at, &word, sizeof word);
  };
  for (const char* name : {".note.stapsdt", ".note.fiberprof"}) {
    const ElfSection* section = file->section(name);
    ASSERT_NE(section, nullptr);
    const std::string_view contents = file->contents(*section);
    for (const ElfNote& note : file->notes(*section)) {
      const size_t at = section->offset + static_cast<size_t>(note.description.data() - contents.data());
      for (size_t word = 0; word < (note.name == "stapsdt" ? 3 : 2); ++word) shift(at + word * 8);
    }
  }
  const FiberBinary moved = read_bytes(bytes);
  ASSERT_EQ(moved.probes.size(), whole->probes.size());
  for (size_t i = 0; i < moved.probes.size(); ++i) {
    EXPECT_EQ(moved.probes[i].offset, whole->probes[i].offset);
    EXPECT_EQ(moved.probes[i].semaphore_offset, whole->probes[i].semaphore_offset);
  }
  EXPECT_EQ(moved.registry, whole->registry);
}

// Everything the reader offers, on one file.
void read_all(UniqueFd fd) {
  auto file = ElfFile::open(std::move(fd), "scratch");
  if (!file) return;
  const FiberBinary binary = read_fiber_binary(*file);
  for (const Probe& probe : binary.probes) ASSERT_LE(probe.arguments.size(), file->file_size());
  const SymbolTable symbols = SymbolTable::functions(*file);
  for (uint64_t address = 0; address < 0x6000; address += 0x123) (void)symbols.find(address);
  (void)find_symbol(*file, "no such symbol");
  for (const ElfSection& section : file->sections()) (void)file->notes(section);
}

TEST(MalformedElf, CutAtEveryLengthNeverCrashes) {
  const std::string bytes = file_bytes(kFixtures + "small.so");
  const UniqueFd fd = scratch_file(bytes);
  for (size_t size = bytes.size(); size-- > 0;) {
    ASSERT_EQ(ftruncate(fd.get(), static_cast<off_t>(size)), 0);
    read_all(UniqueFd(dup(fd.get())));
  }
}

TEST(MalformedElf, RandomBytesInItNeverCrash) {
  const std::string bytes = file_bytes(kFixtures + "small.so");
  const auto whole = ElfFile::open(kFixtures + "small.so");
  ASSERT_TRUE(whole);
  std::mt19937 random(5);
  // Half of the damage goes where structure is: the headers, the notes and the symbol tables.
  std::vector<std::pair<size_t, size_t>> places{{16, 64}, {64, 600}};
  for (const ElfSection& section : whole->sections())
    if (section.type == SHT_NOTE || section.type == SHT_SYMTAB || section.type == SHT_STRTAB)
      places.emplace_back(section.offset, std::min<size_t>(section.size, 400));
  places.emplace_back(bytes.size() - whole->sections().size() * 64, whole->sections().size() * 64);
  static const uint64_t kNasty[] = {
      0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x7FFFFFFFFFFFFFFF, UINT64_MAX, UINT64_MAX - 7};
  for (int round = 0; round < 20000; ++round) {
    std::string damaged = bytes;
    for (unsigned i = 0; i < 1 + random() % 4; ++i) {
      const auto [start, size] =
          random() % 2 ? places[random() % places.size()] : std::pair<size_t, size_t>(0, bytes.size());
      const size_t at = start + random() % size;
      if (random() % 2) {
        damaged[at % damaged.size()] = static_cast<char>(random());
      } else {
        const uint64_t word = kNasty[random() % std::size(kNasty)];
        const size_t width = size_t{1} << (random() % 4);
        const size_t aligned = at / width * width;
        if (aligned + width <= damaged.size()) std::memcpy(damaged.data() + aligned, &word, width);
      }
    }
    read_all(scratch_file(damaged));
  }
}

}  // namespace
}  // namespace fiberprof
