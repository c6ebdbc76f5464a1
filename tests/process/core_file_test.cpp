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
#include "symbol/symbolizer.h"

namespace fiberprof {
namespace {

namespace fs = std::filesystem;
using test::Dumpable;
using test::open_core;
using test::write;

// Without sanitizers: gdb writes all of a shadow of terabytes.
std::string program(const std::string& name) { return FIBERPROF_PLAIN_DIR "/tests/programs/" + name; }

std::string error_of(const std::string& path, const std::string& executable = {}) {
  const auto core = CoreFile::open(path, executable);
  EXPECT_FALSE(core);
  return core ? "" : core.error().message();
}

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

}  // namespace
}  // namespace fiberprof
