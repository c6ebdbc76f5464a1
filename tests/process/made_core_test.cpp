// SPDX-License-Identifier: BSD-2-Clause
// Core files that tests made by hand: what holds for any, and what only a liar writes.
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>

#include "process/core_file.h"
#include "process/core_of.h"
#include "process/fixtures/hand_core.h"
#include "process/fixtures/hand_registry.h"

namespace fiberprof {
namespace {

using test::open_core;
using test::write;

class HandMade : public testing::Test {
 protected:
  HandMade() {
    core_.threads.resize(2);
    core_.threads[0].pr_pid = 77;
    core_.threads[0].pr_cursig = SIGSEGV;
    core_.threads[1].pr_pid = 78;
    core_.process.pr_pid = 77;
    std::strcpy(core_.process.pr_fname, "made");
  }
  std::shared_ptr<CoreFile> made() {
    write(scratch_ / "core", core_.bytes());
    return open_core(scratch_ / "core");
  }
  test::ScratchDirectory scratch_;
  fixture::HandCore core_;
};

TEST_F(HandMade, MemoryIsWhereItWas) {
  core_.memory(0x20000, "world");
  core_.memory(0x10000, std::string(0x1000, 'a'), PF_R | PF_X);
  core_.memory(0x11000, std::string(0x1000, 'b'));
  const auto core = made();
  ASSERT_NE(core, nullptr);
  EXPECT_EQ(core->pid(), 77u);
  EXPECT_EQ(core->name(), "made");
  EXPECT_EQ(core->signal(), SIGSEGV);
  ASSERT_EQ(core->threads().size(), 2u);
  EXPECT_EQ(core->threads()[1].tid, 78u);
  std::string out(4, '\0');
  EXPECT_EQ(core->read(0x10ffe, out), ReadStatus::ok);
  EXPECT_EQ(out, "aabb");
  EXPECT_EQ(core->read(0x11ffe, out), ReadStatus::fault);
  EXPECT_EQ(core->read(0x20002, out), ReadStatus::fault);
  EXPECT_EQ(core->read(0xfffffffffffffffe, out), ReadStatus::fault);
  out.resize(3);
  EXPECT_EQ(core->read(0x20002, out), ReadStatus::ok);
  EXPECT_EQ(out, "rld");
  ASSERT_EQ(core->mappings().size(), 3u);
  EXPECT_TRUE(core->mappings()[0].executable);
  EXPECT_TRUE(core->mappings()[1].writable);
}

TEST_F(HandMade, ARegistryIsFoundByItsMagicAndReadAsAnyOther) {
  fiberprof_registry registry{};
  fixture::Store store;
  fixture::fill(registry, store, 200, 64);
  const auto add = [&](const void* bytes, size_t size) { core_.memory(bytes, size); };
  add(&registry, sizeof registry);
  for (const auto& slab : store.slabs) add(slab.get(), 64 * sizeof(fiberprof_fiber));
  add(store.slab_addresses.data(), store.slab_addresses.size() * 8);
  const auto core = made();
  ASSERT_NE(core, nullptr);
  const auto process = core->find_fibers();
  ASSERT_TRUE(process) << process.error().message();
  EXPECT_EQ(process->registry_address, fixture::address(&registry));
  const auto view = RegistryView::open(CoreFile::memory(core), process->registry_address);
  ASSERT_TRUE(view) << view.error().message();
  uint64_t sum = 0;
  ASSERT_TRUE((*view)->fibers([&](const FiberInfo& fiber) { sum += fiber.id; }, 1'000));
  EXPECT_EQ(sum, 200u * 201 / 2);
}

TEST_F(HandMade, OverlapsAndWrappingSegmentsAreLies) {
  core_.memory(0x10000, std::string(0x1000, 'a'));
  core_.memory(0x10800, std::string(0x1000, 'b'));
  core_.memory(0xfffffffffffff000, std::string(0x2000, 'c'));
  const auto core = made();
  ASSERT_NE(core, nullptr);
  std::string out(1, '\0');
  EXPECT_EQ(core->read(0x10900, out), ReadStatus::ok);
  EXPECT_EQ(out, "a");
  EXPECT_EQ(core->mappings().size(), 1u);
}

TEST_F(HandMade, FilesAreOpenedOnlyWhenTheyAreRegularElfFiles) {
  // As what devices, fifos and texts would be read, nobody may know.
  core_.files = {{0x30000, 0x31000, 0, "/dev/zero"}, {0x40000, 0x41000, 0, "/etc/passwd"}, {0x50000, 0x51000, 0, "x"}};
  core_.segments = {{0x30000, "", 0x1000, PF_R}, {0x40000, "", 0x1000, PF_R}, {0x50000, "", 0x1000, PF_R}};
  const auto core = made();
  ASSERT_NE(core, nullptr);
  std::string out(1, '\0');
  for (const uint64_t address : {0x30000, 0x40000, 0x50000}) EXPECT_EQ(core->read(address, out), ReadStatus::fault);
}

TEST_F(HandMade, NotesThatLieAreCountedAndSkipped) {
  core_.memory(0x10000, "memory");
  std::string notes;
  fixture::HandCore::note(notes, NT_PRSTATUS, "short");
  fixture::HandCore::note(notes, NT_PRPSINFO, "short");
  const uint64_t many[] = {UINT64_MAX / 24, 4096, 1, 2, 3};
  fixture::HandCore::note(notes, NT_FILE, fixture::raw(many));
  const uint64_t no_path[] = {1, 4096, 0x1000, 0x2000, 0};
  fixture::HandCore::note(notes, NT_FILE, fixture::raw(no_path));
  fixture::HandCore::note(notes, NT_PRSTATUS, fixture::raw(core_.threads[1]));
  const uint32_t endless[] = {5, 0xffffffff, NT_FILE};
  notes += fixture::raw(endless);
  write(scratch_ / "core", core_.bytes(notes));
  const auto core = open_core(scratch_ / "core");
  ASSERT_NE(core, nullptr);
  ASSERT_EQ(core->threads().size(), 1u);
  EXPECT_EQ(core->threads()[0].tid, 78u);
  ASSERT_EQ(core->remarks().size(), 1u);
  EXPECT_EQ(core->remarks()[0], "5 malformed notes were skipped");
}

}  // namespace
}  // namespace fiberprof
