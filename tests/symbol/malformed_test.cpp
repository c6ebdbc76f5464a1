// SPDX-License-Identifier: BSD-2-Clause
// Debug information is the target's to write: whatever is in it, looking things up ends, within bounds.
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "elf/scratch_file.h"
#include "symbol/binary_symbols.h"
#include "symbol/dwarf_info.h"

namespace fiberprof {
namespace {

using test::file_bytes;
using test::scratch_file;

struct Place {
  size_t start, size;
};

void look_up_all(const std::string& bytes, const std::vector<uint64_t>& addresses) {
  BinarySymbols symbols(scratch_file(bytes), "/scratch", nullptr);
  for (const uint64_t address : addresses) {
    const auto frames = symbols.find(address);
    ASSERT_FALSE(frames.empty());
    for (const SourceFrame& frame : frames) ASSERT_FALSE(frame.function.empty());
  }
}

class Malformed : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    bytes = file_bytes(path);
    const auto file = ElfFile::open(path);
    ASSERT_TRUE(file);
    for (const ElfSection& section : file->sections()) {
      if (section.name.starts_with(".debug_") || section.type == SHT_SYMTAB)
        places.push_back({section.offset, section.size});
      if (section.name == ".text")
        for (uint64_t at = 0; at < section.size && addresses.size() < 24; at += section.size / 24 + 1)
          addresses.push_back(section.address + at);
    }
    places.push_back({bytes.size() - file->sections().size() * 64, file->sections().size() * 64});
    ASSERT_GT(places.size(), 4u);
    ASSERT_FALSE(addresses.empty());
  }
  std::string path = std::string(FIBERPROF_BUILD_DIR "/tests/fixtures/") + GetParam();
  std::string bytes;
  std::vector<Place> places;
  std::vector<uint64_t> addresses;
};

TEST_P(Malformed, RandomBytesInDebugInformationNeverCrashNorHang) {
  std::mt19937 random(13);
  static const uint64_t kNasty[] = {0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, UINT64_MAX};
  const int rounds = bytes.size() < 50'000 ? 8000 : 1500;
  for (int round = 0; round < rounds; ++round) {
    std::string damaged = bytes;
    for (unsigned i = 0; i < 1 + random() % 6; ++i) {
      const Place& place = places[random() % places.size()];
      if (place.size == 0) continue;
      // Headers and first entries are worth more attempts than what follows.
      const size_t at = place.start + random() % (random() % 2 ? place.size : std::min<size_t>(place.size, 64));
      const uint64_t word = random() % 2 ? kNasty[random() % std::size(kNasty)] : random();
      std::memcpy(damaged.data() + at, &word, std::min<size_t>(size_t{1} << (random() % 4), damaged.size() - at));
    }
    look_up_all(damaged, addresses);
  }
}

TEST_P(Malformed, CutFilesNeverCrash) {
  const size_t step = bytes.size() / 1500 + 1;
  for (size_t size = 0; size < bytes.size(); size += step) look_up_all(bytes.substr(0, size), addresses);
}

INSTANTIATE_TEST_SUITE_P(Symbol, Malformed,
                         ::testing::Values("small_debug.so", "symbol/debug", "symbol/dwarf4", "symbol/clang"));

}  // namespace
}  // namespace fiberprof
