// SPDX-License-Identifier: BSD-2-Clause
// Core files: those of the kernel and of gdb give what the living process gave; those of liars, an error.
#include "process/core_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <map>
#include <set>

#include "elf/scratch_file.h"
#include "process/core_of.h"
#include "process/fixtures/hand_core.h"
#include "process/fixtures/hand_registry.h"
#include "symbol/symbolizer.h"

namespace fiberprof {
namespace {

namespace fs = std::filesystem;
using test::Dumpable;

// Without sanitizers: gdb writes all of a shadow of terabytes.
std::string program(const std::string& name) { return FIBERPROF_PLAIN_DIR "/tests/programs/" + name; }

std::shared_ptr<CoreFile> open_core(const std::string& path, const std::string& executable = {}) {
  auto core = CoreFile::open(path, executable);
  EXPECT_TRUE(core) << core.error().message();
  return core ? *core : nullptr;
}

std::string error_of(const std::string& path, const std::string& executable = {}) {
  const auto core = CoreFile::open(path, executable);
  EXPECT_FALSE(core);
  return core ? "" : core.error().message();
}

void write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

// Names of the functions of each named fiber's stack, by the fiber's name.
std::map<std::string, std::set<std::string>> stacks_in(const std::shared_ptr<CoreFile>& core) {
  std::map<std::string, std::set<std::string>> stacks;
  const auto process = core->find_fibers();
  EXPECT_TRUE(process) << process.error().message();
  if (!process) return stacks;
  const auto view = RegistryView::open(CoreFile::memory(core), process->registry_address);
  EXPECT_TRUE(view) << view.error().message();
  if (!view) return stacks;
  std::vector<FiberInfo> fibers;
  EXPECT_TRUE((*view)->fibers([&](const FiberInfo& fiber) { fibers.push_back(fiber); }, 1'000));
  const auto symbols = ProcessSymbols::from(core->pid(), core->mappings(),
                                            [&](const Mapping& mapping) { return core->open_file(mapping); });
  for (const FiberInfo& fiber : fibers)
    for (const Frame& frame : symbols->stack((*view)->stack(fiber), false, true))
      stacks[fiber.name].insert(frame.function.substr(0, frame.function.find('(')));
  return stacks;
}

void expect_parked_stacks(const std::shared_ptr<CoreFile>& core) {
  ASSERT_NE(core, nullptr);
  const auto stacks = stacks_in(core);
  const std::pair<const char*, const char*> kKnown[] = {
      {"receive", "app::wait_to_receive"},      {"send", "app::wait_to_send"},
      {"select", "app::wait_in_select"},        {"mutex", "app::wait_for_mutex"},
      {"condition", "app::wait_for_condition"}, {"group", "app::wait_for_group"},
      {"sleep", "app::wait_for_time"},          {"deep", "app::wait_deep_down"}};
  for (const auto& [name, function] : kKnown) {
    ASSERT_TRUE(stacks.contains(name)) << name;
    EXPECT_TRUE(stacks.at(name).contains(function)) << name;
    EXPECT_TRUE(stacks.at(name).contains("fiber_entry")) << name << " does not end where fibers begin";
  }
}

class KernelCore : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const std::string why = test::no_core_files(); !why.empty()) GTEST_SKIP() << why;
  }
};

TEST_P(KernelCore, HasTheFibersOfTheProcess) {
  Dumpable target({FIBERPROF_TARGET_DIR + std::string("/tests/") + GetParam()});
  ASSERT_TRUE(target.wait_for_parked("deep"));
  const uint32_t pid = target.pid();
  FiberFinder finder;
  const auto alive = finder.find(pid);
  ASSERT_TRUE(alive) << alive.error().message();
  const std::string path = target.abort();
  ASSERT_FALSE(path.empty());
  const auto core = open_core(path);
  ASSERT_NE(core, nullptr);
  EXPECT_EQ(core->pid(), pid);
  EXPECT_EQ(core->signal(), SIGABRT);
  EXPECT_EQ(core->name(), std::string(GetParam()).substr(std::string(GetParam()).rfind('/') + 1).substr(0, 15));
  EXPECT_EQ(core->executable(), fs::canonical(FIBERPROF_TARGET_DIR + std::string("/tests/") + GetParam()));
  EXPECT_EQ(core->missing(), 0u);
  EXPECT_TRUE(core->remarks().empty()) << core->remarks()[0];
  const auto dead = core->find_fibers();
  ASSERT_TRUE(dead) << dead.error().message();
  EXPECT_EQ(dead->registry_address, alive->registry_address);
  EXPECT_EQ(dead->load_bias, alive->load_bias);
  EXPECT_EQ(dead->binary_path, alive->binary_path);
  expect_parked_stacks(core);
}

INSTANTIATE_TEST_SUITE_P(Programs, KernelCore,
                         testing::Values("programs/parked", "fixtures/parked_no_pie", "fixtures/parked_shared"),
                         [](const auto& each) {
                           const std::string path = each.param;
                           return path.substr(path.rfind('/') + 1);
                         });

class ParkedCore : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = test::no_core_files(); !why.empty()) GTEST_SKIP() << why;
  }
  // A core of a copy of the program, which can then be changed.
  std::string core_of(const std::string& path) {
    target_.emplace(std::vector<std::string>{path});
    EXPECT_TRUE(target_->wait_for_parked("deep"));
    return target_->abort();
  }
  std::string copy_of_program(const std::string& name = "parked") {
    const std::string path = scratch_ / name;
    fs::copy_file(program("parked"), path);
    return path;
  }
  test::ScratchDirectory scratch_;
  std::optional<Dumpable> target_;
};

TEST_F(ParkedCore, HasThreadsWithTheirRegisters) {
  const auto core = open_core(core_of(program("parked")));
  ASSERT_NE(core, nullptr);
  const auto process = core->find_fibers();
  ASSERT_TRUE(process);
  const auto view = RegistryView::open(CoreFile::memory(core), process->registry_address);
  ASSERT_TRUE(view) << view.error().message();
  const auto summary = (*view)->summary();
  ASSERT_TRUE(summary);
  ASSERT_FALSE(summary->workers.empty());
  for (const WorkerInfo& worker : summary->workers) {
    const auto thread = std::find_if(core->threads().begin(), core->threads().end(),
                                     [&](const CoreThread& each) { return each.tid == worker.tid; });
    ASSERT_NE(thread, core->threads().end()) << "no thread " << worker.tid;
    const Mapping* const code = find_mapping(core->mappings(), thread->pc);
    const Mapping* const stack = find_mapping(core->mappings(), thread->sp);
    ASSERT_TRUE(code != nullptr && stack != nullptr);
    EXPECT_TRUE(code->executable);
    EXPECT_TRUE(stack->writable);
    // The first word of a thread's own block points at itself, on both architectures' common C libraries.
#if defined(__x86_64__)
    uint64_t self = 0;
    ASSERT_EQ(core->read(thread->tls, {reinterpret_cast<char*>(&self), sizeof self}), ReadStatus::ok);
    EXPECT_EQ(self, thread->tls);
#endif
    EXPECT_NE(std::count(thread->registers.begin(), thread->registers.end(), thread->sp), 0);
    EXPECT_NE(std::count(thread->registers.begin(), thread->registers.end(), thread->pc), 0);
    EXPECT_FALSE(thread->vector_registers.empty());
  }
}

// Code is not in a core: it is what the file has there.
TEST_F(ParkedCore, WhatItLeftOutIsReadFromTheFile) {
  const auto core = open_core(core_of(program("parked")));
  ASSERT_NE(core, nullptr);
  const auto process = core->find_fibers();
  ASSERT_TRUE(process);
  const auto code = std::find_if(core->mappings().begin(), core->mappings().end(), [&](const Mapping& mapping) {
    return mapping.executable && mapping.path == core->executable();
  });
  ASSERT_NE(code, core->mappings().end());
  std::string read(64, '\0');
  ASSERT_EQ(core->read(code->start, read), ReadStatus::ok);
  EXPECT_EQ(read, test::file_bytes(program("parked")).substr(code->offset, read.size()));
  // The last page of the file's last mapping ends in zeros where the file does; behind the mapping there is nothing.
  EXPECT_EQ(core->read(code->end - 1, std::span(read).first(1)), ReadStatus::ok);
  EXPECT_EQ(core->read(16, std::span(read).first(1)), ReadStatus::fault);
}

TEST_F(ParkedCore, OfAProgramThatIsGoneStillHasItsFibers) {
  const std::string path = copy_of_program();
  const std::string file = core_of(path);
  fs::remove(path);
  const auto core = open_core(file);
  ASSERT_NE(core, nullptr);
  const auto process = core->find_fibers();  // by its magic
  ASSERT_TRUE(process) << process.error().message();
  const auto view = RegistryView::open(CoreFile::memory(core), process->registry_address);
  ASSERT_TRUE(view) << view.error().message();
  std::set<std::string> names;
  ASSERT_TRUE((*view)->fibers([&](const FiberInfo& fiber) { names.insert(fiber.name); }, 100));
  EXPECT_TRUE(names.contains("deep"));
  ASSERT_EQ(core->remarks().size(), 1u);
  EXPECT_NE(core->remarks()[0].find("cannot open " + path), std::string::npos) << core->remarks()[0];
  EXPECT_NE(core->remarks()[0].find("--exe"), std::string::npos) << core->remarks()[0];
  // Named, wherever it is now, it is whole again.
  const auto whole = open_core(file, program("parked"));
  expect_parked_stacks(whole);
  EXPECT_TRUE(whole->remarks().empty());
}

TEST_F(ParkedCore, OfAProgramThatWasRebuiltDoesNotBelieveTheNewOne) {
  const std::string path = copy_of_program();
  const std::string file = core_of(path);
  fs::remove(path);
  fs::copy_file(program("rounds"), path);
  const auto core = open_core(file);
  ASSERT_NE(core, nullptr);
  ASSERT_TRUE(core->find_fibers());
  ASSERT_EQ(core->remarks().size(), 1u);
  EXPECT_NE(core->remarks()[0].find("is not the file that was mapped"), std::string::npos) << core->remarks()[0];
}

TEST_F(ParkedCore, ExecutableThatIsNotTheCoresIsRefused) {
  const std::string file = core_of(program("parked"));
  EXPECT_NE(error_of(file, program("rounds")).find("is not the file that was mapped"), std::string::npos);
  EXPECT_NE(error_of(file, scratch_ / "nothing").find("No such file"), std::string::npos);
  EXPECT_NE(error_of(file, file).find("is not the file that was mapped"), std::string::npos);
}

// Without build ids the entry point tells.
TEST_F(ParkedCore, ExecutableWithoutBuildIdIsCheckedByItsEntry) {
  const std::string path = scratch_ / "parked";
  ASSERT_EQ(run_command("objcopy --remove-section .note.gnu.build-id " + program("parked") + " " + path).status, 0);
  const std::string file = core_of(path);
  expect_parked_stacks(open_core(file, path));
  const std::string other = scratch_ / "other";
  ASSERT_EQ(run_command("objcopy --remove-section .note.gnu.build-id " + program("rounds") + " " + other).status, 0);
  EXPECT_NE(error_of(file, other).find("begins somewhere else"), std::string::npos);
}

TEST_F(ParkedCore, CutShortGivesWhatIsThere) {
  const std::string file = core_of(program("parked"));
  const uint64_t size = fs::file_size(file);
  const auto whole = open_core(file);
  ASSERT_NE(whole, nullptr);
  const auto process = whole->find_fibers();
  ASSERT_TRUE(process);
  bool some = false;
  for (const double share : {0.99, 0.9, 0.5, 0.1, 0.01, 0.0001}) {
    fs::resize_file(file, static_cast<uint64_t>(static_cast<double>(size) * share));
    const auto core = CoreFile::open(file);
    if (!core) {
      EXPECT_NE(core.error().message().find("cut off"), std::string::npos) << core.error().message();
      continue;
    }
    EXPECT_GT((*core)->missing(), 0u) << share;
    ASSERT_FALSE((*core)->remarks().empty());
    EXPECT_NE((*core)->remarks()[0].find("cut short"), std::string::npos);
    const auto view = RegistryView::open(CoreFile::memory(*core, CoreGaps::zeros), process->registry_address);
    if (!view) continue;
    uint64_t fibers = 0;
    const auto torn = (*view)->fibers([&](const FiberInfo&) { ++fibers; }, 100);
    ASSERT_TRUE(torn) << torn.error().message();
    some |= fibers != 0;
    // A reader that wants to prove something is told that memory is missing.
    const auto strict = RegistryView::open(CoreFile::memory(*core), process->registry_address);
    const auto complete =
        strict ? (*strict)->fibers([](const FiberInfo&) {}, 100) : tl::unexpected<Error>(strict.error());
    EXPECT_EQ(complete.has_value(), (*core)->lacking() == 0) << share;
  }
  EXPECT_TRUE(some);
}

// gdb leaves out what is the same in the file; and stacks whose chunks hold a guard page, so only what it has is asked
// for.
TEST_F(ParkedCore, OfGdbHasTheFibers) {
  if (run_command("command -v gcore").status != 0) GTEST_SKIP() << "gdb is not installed";
  Dumpable target({program("parked")});
  ASSERT_TRUE(target.wait_for_parked("deep"));
  const auto core = open_core(target.gcore());
  ASSERT_NE(core, nullptr);
  EXPECT_EQ(core->pid(), target.pid());
  EXPECT_EQ(core->executable(), fs::canonical(program("parked")));
  FiberFinder finder;
  const auto alive = finder.find(target.pid());
  const auto dead = core->find_fibers();
  ASSERT_TRUE(dead) << dead.error().message();
  EXPECT_EQ(dead->registry_address, alive->registry_address);
  const auto view = RegistryView::open(CoreFile::memory(core), dead->registry_address);
  ASSERT_TRUE(view) << view.error().message();
  std::set<std::string> names;
  ASSERT_TRUE((*view)->fibers([&](const FiberInfo& fiber) { names.insert(fiber.name); }, 100));
  EXPECT_TRUE(names.contains("deep"));
  std::string code(16, '\0');
  const Mapping* const main = find_mapping(core->mappings(), core->auxv().at(AT_ENTRY));
  ASSERT_NE(main, nullptr);
  EXPECT_TRUE(main->executable);
  EXPECT_EQ(core->read(main->start, code), ReadStatus::ok);
}

TEST(CoreFile, WhatIsNoCoreFileIsSaid) {
  test::ScratchDirectory scratch;
  EXPECT_NE(error_of(scratch / "none").find("No such file"), std::string::npos);
  EXPECT_NE(error_of(scratch.path()).find("not a file"), std::string::npos);
  EXPECT_NE(error_of("/dev/zero").find("not a file"), std::string::npos);
  const std::string run = error_of(program("parked"));
  EXPECT_NE(run.find("a program"), std::string::npos) << run;
  EXPECT_NE(run.find("--exe " + program("parked")), std::string::npos) << run;
  write(scratch / "text", "hello, world; this is not a core file at all, but long enough to be one by its length");
  EXPECT_NE(error_of(scratch / "text").find("not an ELF file"), std::string::npos);
  write(scratch / "zst", std::string("\x28\xb5\x2f\xfd", 4) + std::string(100, 'x'));
  EXPECT_NE(error_of(scratch / "zst").find("compressed with zstd"), std::string::npos);
  fixture::HandCore core;
  core.threads.resize(1);
  core.memory(0x10000, "abcd");
  core.machine = EM_RISCV;
  write(scratch / "riscv", core.bytes());
  EXPECT_NE(error_of(scratch / "riscv").find("another processor architecture"), std::string::npos);
  core = {};
  core.type = ET_REL;
  core.memory(0x10000, "abcd");
  write(scratch / "object", core.bytes());
  EXPECT_NE(error_of(scratch / "object").find("not a core file"), std::string::npos);
  core = {};
  write(scratch / "empty", core.bytes());
  EXPECT_NE(error_of(scratch / "empty").find("no memory in it"), std::string::npos);
}

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
