// SPDX-License-Identifier: BSD-2-Clause
// Core files and registries that were changed at random, from seeds that never change, and what fuzzing found before
// (tests/fuzz/corpus). What is asserted: it ends, and no sanitizer complains.
#include <gtest/gtest.h>

#include <elf.h>
#include <algorithm>
#include <filesystem>
#include <functional>
#include <random>
#include <string>

#include "elf/scratch_file.h"
#include "fuzz/consume.h"
#include "fuzz/image.h"

namespace fiberprof::test {
namespace {

constexpr int kRounds = 1500;

// A few changes of the kinds that lies are made of.
std::string changed(std::string bytes, std::mt19937_64& random) {
  static constexpr uint64_t kOdd[] = {0,
                                      1,
                                      7,
                                      0xff,
                                      0xffff,
                                      0x7fffffff,
                                      0xffffffff,
                                      UINT64_MAX,
                                      UINT64_MAX - 15,
                                      1ULL << 63,
                                      Image::kBase,
                                      Image::kBase + 8};
  for (uint64_t changes = 1 + random() % 8; changes != 0 && bytes.size() > 16; --changes) {
    const size_t at = random() % (bytes.size() - 8);
    switch (random() % 6) {
      case 0:
        bytes[at] = static_cast<char>(random());
        break;
      case 1:
        bytes[at] = static_cast<char>(bytes[at] ^ 1 << random() % 8);
        break;
      case 2: {  // a number, where numbers are
        const uint64_t value = kOdd[random() % std::size(kOdd)];
        std::memcpy(bytes.data() + at / 4 * 4, &value, 1U << random() % 4);
        break;
      }
      case 3: {  // a pointer to somewhere else
        const uint64_t value = Image::kBase + random() % bytes.size();
        std::memcpy(bytes.data() + at / 8 * 8, &value, sizeof value);
        break;
      }
      case 4:  // a piece of it over another
        std::copy_n(bytes.begin() + static_cast<ptrdiff_t>(random() % (bytes.size() - 8)), 8,
                    bytes.begin() + static_cast<ptrdiff_t>(at));
        break;
      default:
        if (random() % 16 == 0) bytes.resize(random() % bytes.size());
        break;
    }
  }
  return bytes;
}

// How many of the changed ones were still something.
int survivors(const std::string& seed, const std::function<size_t(std::string_view)>& consume) {
  std::mt19937_64 random(20261121);
  int some = 0;
  for (int i = 0; i < kRounds; ++i) some += consume(changed(seed, random)) != 0;
  return some;
}

TEST(Hostile, SeedsAreWhatTheyShouldBe) {
  EXPECT_EQ(consume_memory(Image().bytes()), 24u);
  EXPECT_EQ(consume_core(Image().core()), 24u);
}

TEST(Hostile, ChangedMemory) {
  const int some = survivors(Image().bytes(), consume_memory);
  EXPECT_GT(some, kRounds / 10) << "the changes are too many to find anything";
  EXPECT_LT(some, kRounds) << "the changes are too few to break anything";
}

TEST(Hostile, ChangedCoreFiles) {
  const int some = survivors(Image().core(), consume_core);
  EXPECT_GT(some, kRounds / 10);
  EXPECT_LT(some, kRounds);
}

TEST(Hostile, CoreFilesCutAnywhere) {
  const std::string core = Image().core();
  for (size_t size = 0; size < core.size(); size += 1 + size / 50) consume_core(core.substr(0, size));
}

TEST(Hostile, WhatFuzzingFound) {
  const std::string corpus = std::string(FIBERPROF_SOURCE_DIR) + "/tests/fuzz/corpus/";
  size_t files = 0;
  for (const auto& [folder, consume] : {std::pair{"memory", &consume_memory}, std::pair{"core", &consume_core}})
    for (const auto& file : std::filesystem::directory_iterator(corpus + folder)) {
      consume(file_bytes(file.path()));
      ++files;
    }
  EXPECT_GT(files, 10u);
}

// Lies that a random change hardly tells.
TEST(Hostile, EnormousClaimsCostLittle) {
  const auto lie = [](const std::function<void(fiberprof_registry&)>& change) {
    std::string bytes = Image().bytes();
    fiberprof_registry registry;
    std::memcpy(&registry, bytes.data(), sizeof registry);
    change(registry);
    std::memcpy(bytes.data(), &registry, sizeof registry);
    consume_memory(bytes);
  };
  lie([](auto& registry) { registry.fibers_per_slab = registry.fiber_slab_count = UINT32_MAX; });
  lie([](auto& registry) { registry.fibers_per_slab = 4096 * 4096, registry.fiber_slab_count = 1; });
  lie([](auto& registry) { registry.fibers_per_slab = 1, registry.fiber_slab_count = 16U << 20; });
  lie([](auto& registry) { registry.worker_count = registry.processor_count = UINT32_MAX; });
  lie([](auto& registry) { registry.worker_count = 65'536, registry.worker_size = 16'384; });
  lie([](auto& registry) { registry.fiber_size = 1; });
  lie([](auto& registry) { registry.arm_size = 16'384; });
  lie([](auto& registry) { registry.field_count = UINT32_MAX; });
  lie([](auto& registry) { registry.fiber_slabs = UINT64_MAX - 8; });
  lie([](auto& registry) { registry.fiber_slabs = Image::kBase; });
  lie([](auto& registry) { registry.version = 2; });
  lie([](auto& registry) { registry.clock_ns = UINT64_MAX; });
}

}  // namespace
}  // namespace fiberprof::test
