// SPDX-License-Identifier: BSD-2-Clause
// Callers that a walk by frame pointers skips in the C library are found by its unwind tables; whatever the snapshot
// of the stack or the tables hold, nothing outside of them is read and it ends.
#include "symbol/leaf_unwind.h"

#include <elf.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <random>
#include <thread>

#include "elf/scratch_file.h"
#include "process/child.h"
#include "process/target_memory.h"
#include "symbol/binary_symbols.h"
#include "symbol/symbolizer.h"

namespace fiberprof {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;

using Kind = RegisterRule::Kind;
using From = RegisterRule::From;

// --- By hand: addresses below 100 are of "libc", whose frames are two words without a frame pointer.

UnwindRow plain_row() {
  UnwindRow row;
  row.cfa_from = From::sp;
  row.cfa_offset = 16;
  row.return_address = {Kind::memory, From::cfa, -8};
  row.fp = {Kind::same, From::cfa, 0};
  return row;
}

std::optional<UnwindRow> plain_code(uint64_t address, bool) {
  return address < 100 ? std::optional(plain_row()) : std::nullopt;
}

LeafSnapshot snapshot(std::vector<uint64_t> words, uint64_t ip, uint64_t fp) {
  LeafSnapshot leaf;
  leaf.ip = ip;
  leaf.sp = 0x1000;
  leaf.fp = leaf.from = fp;
  leaf.stack.resize(words.size() * 8);
  std::memcpy(leaf.stack.data(), words.data(), leaf.stack.size());
  return leaf;
}

// Two functions of libc, then F (its frame record at 0x1028), called from 300, which was called from 400.
const std::vector<uint64_t> kWords{0, 20, 0, 200, 0, 0x2000, 300};

TEST(LeafUnwind, FindsTheCallersInBetween) {
  const auto find = [](uint64_t address, bool) {
    UnwindRow row = plain_row();
    if (address >= 100) row.cfa_from = From::fp, row.fp = {Kind::memory, From::cfa, -16};
    return std::optional(row);
  };
  const auto leaf = snapshot(kWords, 10, 0x1028);
  EXPECT_THAT(complete_stack(leaf, std::vector<uint64_t>{10, 300, 400}, find), ElementsAre(10, 20, 200, 300, 400));
}

TEST(LeafUnwind, ReplacesWhatWasOnlyGuessed) {
  const auto find = [](uint64_t address, bool) {
    UnwindRow row = plain_row();
    if (address >= 100) row.cfa_from = From::fp, row.fp = {Kind::memory, From::cfa, -16};
    return std::optional(row);
  };
  auto leaf = snapshot(kWords, 10, 0x1028);
  leaf.guessed = 1;
  EXPECT_THAT(complete_stack(leaf, std::vector<uint64_t>{10, 777, 300, 400}, find), ElementsAre(10, 20, 200, 300, 400));
}

TEST(LeafUnwind, KeepsTheChainWhenTheTablesDoNotLeadToIt) {
  const auto leaf = snapshot(kWords, 10, 0x1028);
  const std::vector<uint64_t> chain{10, 300, 400};
  EXPECT_EQ(complete_stack(leaf, chain, plain_code), chain) << "no rules for F";
  EXPECT_EQ(complete_stack(leaf, chain, [](uint64_t, bool) { return std::nullopt; }), chain);
  auto elsewhere = leaf;
  elsewhere.from = 0x1010;
  EXPECT_EQ(complete_stack(elsewhere, chain, plain_code), chain);
  auto other_ip = leaf;
  other_ip.ip = 11;
  EXPECT_EQ(complete_stack(other_ip, chain, plain_code), chain) << "not of this stack";
}

TEST(LeafUnwind, StandsAloneWhenThereIsNoChain) {
  const auto leaf = snapshot(kWords, 10, 0);
  EXPECT_THAT(complete_stack(leaf, std::vector<uint64_t>{10}, plain_code), ElementsAre(10, 20, 200));
  EXPECT_TRUE(complete_stack(leaf, std::vector<uint64_t>{}, plain_code).empty());
}

TEST(LeafUnwind, EndsAtTheEndOfTheSnapshotAndAfterABoundedNumberOfSteps) {
  const auto everywhere = [](uint64_t, bool) { return std::optional(plain_row()); };
  const auto leaf = snapshot(std::vector<uint64_t>(1000, 50), 10, 0);
  EXPECT_EQ(complete_stack(leaf, std::vector<uint64_t>{10}, everywhere).size(), 65u);
  for (size_t bytes = 0; bytes < 16; ++bytes) {
    auto cut = leaf;
    cut.stack.resize(bytes);
    EXPECT_THAT(complete_stack(cut, std::vector<uint64_t>{10}, everywhere), ElementsAre(10));
  }
  auto at_the_top = leaf;
  at_the_top.sp = UINT64_MAX - 8;
  EXPECT_THAT(complete_stack(at_the_top, std::vector<uint64_t>{10}, everywhere), ElementsAre(10));
}

TEST(LeafUnwind, GoesOnlyUpwards) {
  UnwindRow stuck = plain_row();
  stuck.cfa_offset = 0;
  stuck.return_address = {Kind::value, From::cfa, 0};
  const auto leaf = snapshot(kWords, 10, 0);
  EXPECT_LE(
      complete_stack(leaf, std::vector<uint64_t>{10}, [&](uint64_t, bool) { return std::optional(stuck); }).size(), 2u);
  stuck.cfa_offset = -8;
  EXPECT_THAT(complete_stack(leaf, std::vector<uint64_t>{10}, [&](uint64_t, bool) { return std::optional(stuck); }),
              ElementsAre(10));
}

TEST(LeafUnwind, UnknownRulesEndIt) {
  for (const Kind kind : {Kind::undefined, Kind::unknown, Kind::link, Kind::same}) {
    UnwindRow row = plain_row();
    row.return_address.kind = kind;  // the link register is 0 here: there is no caller
    const auto leaf = snapshot(kWords, 10, 0);
    EXPECT_THAT(complete_stack(leaf, std::vector<uint64_t>{10}, [&](uint64_t, bool) { return std::optional(row); }),
                ElementsAre(10));
  }
}

// --- Real processes, stopped while they wait in a library.

// Twice FP_LEAF_BYTES, as scanf needs more than that.
constexpr size_t kSnapshot = 4096;

struct Stopped {
  LeafSnapshot leaf;
  std::vector<uint64_t> chain;  // as the frame-pointer walk gives it, without any guess
};

// Once it sleeps in a system call; the limit only ends a broken run.
bool wait_until_asleep(uint32_t pid) {
  for (int attempt = 0; attempt < 5000; ++attempt) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string text((std::istreambuf_iterator<char>(file)), {});
    const size_t end = text.rfind(')');
    if (end != std::string::npos && text.size() > end + 2 && text[end + 2] == 'S') return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return false;
}

// `from`: frame record of the innermost function with frame pointers.
Stopped stop(uint32_t pid, uint64_t from, size_t snapshot_bytes) {
  Stopped stopped;
  const auto id = static_cast<pid_t>(pid);
  EXPECT_EQ(ptrace(PTRACE_SEIZE, id, nullptr, nullptr), 0);
  EXPECT_EQ(ptrace(PTRACE_INTERRUPT, id, nullptr, nullptr), 0);
  int status = 0;
  EXPECT_EQ(waitpid(id, &status, __WALL), id);
  user_regs_struct registers{};
  iovec place{&registers, sizeof registers};
  EXPECT_EQ(ptrace(PTRACE_GETREGSET, id, NT_PRSTATUS, &place), 0);
  LeafSnapshot& leaf = stopped.leaf;
#if defined(__x86_64__)
  leaf.ip = registers.rip;
  leaf.sp = registers.rsp;
  leaf.fp = registers.rbp;
#else
  leaf.ip = registers.pc;
  leaf.sp = registers.sp;
  leaf.fp = registers.regs[29];
  leaf.lr = registers.regs[30];
#endif
  leaf.from = from;
  const auto memory = live_memory(pid);
  leaf.stack.resize(snapshot_bytes);
  EXPECT_EQ(memory->read(leaf.sp, {reinterpret_cast<char*>(leaf.stack.data()), snapshot_bytes}), ReadStatus::ok);
  stopped.chain.push_back(leaf.ip);
  for (uint64_t record = from, words[2]; stopped.chain.size() < 127; record = words[0]) {
    if (memory->read(record, {reinterpret_cast<char*>(words), sizeof words}) != ReadStatus::ok || !words[1]) break;
    stopped.chain.push_back(words[1]);
    if (words[0] <= record) break;
  }
  EXPECT_EQ(ptrace(PTRACE_DETACH, id, nullptr, nullptr), 0);
  return stopped;
}

class WaitsInLibrary : public ::testing::TestWithParam<std::tuple<const char*, const char*>> {};

TEST_P(WaitsInLibrary, HasEveryFrameFromTheSystemCallToMain) {
  const auto& [program, call] = GetParam();
  test::Child child({test::fixture_path("symbol/") + program, call});
  ASSERT_TRUE(wait_until_asleep(child.pid()));
  const Stopped stopped = stop(child.pid(), std::stoull(child.line), kSnapshot);
  const auto symbols = ProcessSymbols::open(child.pid());
  ASSERT_TRUE(symbols);
  const auto whole = (*symbols)->complete(stopped.leaf, stopped.chain);
  std::vector<std::string> names;
  for (const Frame& frame : (*symbols)->stack(whole, false)) names.push_back(frame.function);
  child.kill_now();

  const auto caller = std::find(names.begin(), names.end(), "call_that_waits");
  ASSERT_NE(caller, names.end()) << ::testing::PrintToString(names);
  ASSERT_GT(caller, names.begin()) << "the library's own frames come first";
  ASSERT_GE(names.end() - caller, 4) << ::testing::PrintToString(names);
  EXPECT_THAT(std::vector<std::string>(caller, caller + 4),
              ElementsAre("call_that_waits", "middle_function", "outer_function", "main"));
  for (auto name = names.begin(); name != caller; ++name) EXPECT_NE(*name, "[unknown]");
  // How much of the stack it needed: what FP_LEAF_BYTES in bpf/shared.h rests on.
  RecordProperty("bytes", std::to_string(stopped.leaf.from + 16 - stopped.leaf.sp));
  std::printf("%s %s: %llu bytes, %s\n", program, call,
              static_cast<unsigned long long>(stopped.leaf.from + 16 - stopped.leaf.sp), names[0].c_str());
  // With less than that it must not invent anything.
  for (size_t bytes = 0; bytes < kSnapshot; bytes += 56) {
    LeafSnapshot less = stopped.leaf;
    less.stack.resize(bytes);
    const auto stack = (*symbols)->complete(less, stopped.chain);
    if (stack != stopped.chain) {
      EXPECT_THAT(stack, ElementsAreArray(whole)) << bytes;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Symbol, WaitsInLibrary,
                         ::testing::Combine(::testing::Values("waits_in_libc", "waits_in_libc_static"),
                                            ::testing::Values("mutex", "condition", "semaphore", "nanosleep", "read",
                                                              "poll", "fread", "scanf", "getline")),
                         [](const auto& test) {
                           return std::string(std::get<0>(test.param)) + "_" + std::get<1>(test.param);
                         });

TEST(LeafUnwind, RandomSnapshotsOfARealProcessEndWithinBounds) {
  test::Child child({test::fixture_path("symbol/waits_in_libc"), "scanf"});
  ASSERT_TRUE(wait_until_asleep(child.pid()));
  const Stopped stopped = stop(child.pid(), std::stoull(child.line), kSnapshot);
  const auto symbols = ProcessSymbols::open(child.pid());
  ASSERT_TRUE(symbols);
  std::mt19937_64 random(7);
  for (int round = 0; round < 20000; ++round) {
    LeafSnapshot leaf = stopped.leaf;
    for (unsigned i = 0; i < 1 + random() % 4; ++i) {
      // Values that go somewhere: code, the stack itself, the ends of the address space.
      const uint64_t values[] = {leaf.ip + random() % 65536,
                                 leaf.sp + random() % 4096,
                                 stopped.chain[1],
                                 0,
                                 UINT64_MAX,
                                 uint64_t{1} << 63,
                                 random()};
      const uint64_t value = values[random() % std::size(values)];
      switch (random() % 6) {
        case 0:
          leaf.ip = value;
          break;
        case 1:
          leaf.sp = value;
          break;
        case 2:
          leaf.fp = value;
          break;
        case 3:
          leaf.from = value;
          break;
        case 4:
          leaf.guessed = value;
          break;
        default:
          std::memcpy(leaf.stack.data() + random() % (leaf.stack.size() - 8), &value, 8);
      }
    }
    if (random() % 8 == 0) leaf.stack.resize(random() % kSnapshot);
    std::vector<uint64_t> chain = stopped.chain;
    chain[0] = leaf.ip;
    EXPECT_LE((*symbols)->complete(leaf, chain).size(), chain.size() + 64);
  }
  child.kill_now();
}

class MalformedTables : public ::testing::TestWithParam<const char*> {};

TEST_P(MalformedTables, NeverCrashNorHang) {
  const std::string bytes = test::file_bytes(test::fixture_path(GetParam()));
  const auto file = ElfFile::open(test::fixture_path(GetParam()));
  ASSERT_TRUE(file);
  std::vector<const ElfSection*> places;
  std::vector<uint64_t> addresses;
  for (const ElfSection& section : file->sections()) {
    if (section.name.starts_with(".eh_frame")) places.push_back(&section);
    if (section.name == ".text")
      for (uint64_t at = 0; at < section.size; at += section.size / 24 + 1) addresses.push_back(section.address + at);
  }
  ASSERT_EQ(places.size(), 2u);
  ASSERT_FALSE(addresses.empty());
  size_t found = 0;
  std::mt19937 random(11);
  for (int round = 0; round < 4000; ++round) {
    std::string damaged = bytes;
    for (unsigned i = 0; round && i < 1 + random() % 6; ++i) {
      const ElfSection& place = *places[random() % places.size()];
      const size_t at = place.offset + random() % (random() % 2 ? place.size : std::min<size_t>(place.size, 64));
      static const uint64_t kNasty[] = {0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, UINT64_MAX};
      const uint64_t word = random() % 2 ? kNasty[random() % std::size(kNasty)] : random();
      std::memcpy(damaged.data() + at, &word, std::min<size_t>(size_t{1} << (random() % 4), damaged.size() - at));
    }
    BinarySymbols symbols(test::scratch_file(damaged), "/scratch", nullptr);
    for (const uint64_t address : addresses) found += symbols.unwind_row(address).has_value();
    if (round == 0) {
      EXPECT_GE(found, addresses.size() / 2) << "undamaged";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Symbol, MalformedTables, ::testing::Values("small_debug.so", "symbol/debug", "symbol/clang"));

}  // namespace
}  // namespace fiberprof
