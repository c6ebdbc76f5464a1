// SPDX-License-Identifier: BSD-2-Clause
#include "elf/symbol_table.h"

#include <gtest/gtest.h>

#include "elf/elf_file.h"

namespace fiberprof {
namespace {

const std::string kFixtures = FIBERPROF_BUILD_DIR "/tests/fixtures/";

TEST(SymbolTable, FindsAFunctionFromItsFirstToItsLastByte) {
  const auto file = ElfFile::open(kFixtures + "small.so");
  ASSERT_TRUE(file);
  const auto start = find_symbol(*file, "twice");
  ASSERT_TRUE(start);
  const SymbolTable table = SymbolTable::functions(*file);
  const auto symbol = table.find(*start);
  ASSERT_TRUE(symbol);
  EXPECT_EQ(symbol->name, "twice");
  EXPECT_EQ(symbol->address, *start);
  ASSERT_GT(symbol->size, 1u);
  EXPECT_EQ(table.find(*start + symbol->size - 1)->name, "twice");
  const auto behind = table.find(*start + symbol->size);
  EXPECT_TRUE(!behind || behind->name != "twice");
}

TEST(SymbolTable, HasNoDataSymbols) {
  const auto file = ElfFile::open(kFixtures + "small.so");
  ASSERT_TRUE(file);
  const auto data = find_symbol(*file, "fiberprof_registry");
  ASSERT_TRUE(data);
  EXPECT_FALSE(SymbolTable::functions(*file).find(*data));
}

TEST(SymbolTable, OfAStrippedFileHasItsDynamicSymbols) {
  const auto file = ElfFile::open("/proc/self/exe");
  ASSERT_TRUE(file);
  EXPECT_GT(SymbolTable::functions(*file).size(), 100u);
  const auto stripped = ElfFile::open(kFixtures + "fiber_target_stripped");
  ASSERT_TRUE(stripped);
  EXPECT_EQ(stripped->section(".symtab"), nullptr);
  EXPECT_FALSE(SymbolTable::functions(*stripped).find(0));
}

}  // namespace
}  // namespace fiberprof
