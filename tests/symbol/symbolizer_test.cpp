// SPDX-License-Identifier: BSD-2-Clause
#include "symbol/symbolizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "process/child.h"
#include "symbol/demangle.h"

namespace fiberprof {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

const std::string kFixtures = FIBERPROF_BUILD_DIR "/tests/fixtures/symbol/";

// The stacks fixture, running.
struct Running {
  explicit Running(const std::vector<std::string>& command) : child(command) {
    for (std::string line = child.line; !line.empty() && line != "end"; line = child.next_line()) {
      std::istringstream words(line);
      std::string name;
      words >> name;
      if (name == "lines") {
        words >> lines[0] >> lines[1] >> lines[2];
        continue;
      }
      std::vector<uint64_t>& stack = name == "inline" ? inlined : fiber;
      for (std::string word; words >> word;) stack.push_back(std::strtoull(word.c_str(), nullptr, 16));
    }
    EXPECT_GT(inlined.size(), 2u) << command[0];
    EXPECT_GT(fiber.size(), 5u) << command[0];
  }
  uint32_t pid() const { return child.pid(); }

  test::Child child;
  std::vector<uint64_t> inlined, fiber;
  uint32_t lines[3] = {};
};

std::vector<std::string> names(const std::vector<Frame>& stack) {
  std::vector<std::string> result;
  for (const Frame& frame : stack) result.push_back(short_name(frame.function));
  return result;
}

// Up to the function of the fixture where its own code begins; what comes after is the C library's.
std::vector<Frame> up_to_main(std::vector<Frame> stack) {
  for (size_t i = 0; i < stack.size(); ++i)
    if (stack[i].function == "main" || stack[i].function == "fixture_main()") stack.resize(i);
  return stack;
}

class WithDebugInformation : public ::testing::TestWithParam<const char*> {};

TEST_P(WithDebugInformation, HasInlinedFramesFilesAndLines) {
  const Running program({kFixtures + GetParam()});
  const auto symbols = ProcessSymbols::open(program.pid());
  ASSERT_TRUE(symbols) << symbols.error().message();
  const auto stack = up_to_main((*symbols)->stack(program.inlined, false));
  ASSERT_THAT(names(stack), ElementsAre("take_stack", "app::inner", "app::middle", "app::Program::outer"));
  EXPECT_FALSE(stack[0].inlined);
  EXPECT_TRUE(stack[1].inlined);
  EXPECT_TRUE(stack[2].inlined);
  EXPECT_FALSE(stack[3].inlined);
  for (int i = 0; i < 3; ++i) {
    EXPECT_THAT(stack[i + 1].file, EndsWith("tests/symbol/fixtures/stacks.cpp"));
    EXPECT_EQ(stack[i + 1].line, program.lines[i]) << i;
  }
  for (const Frame& frame : stack) {
    EXPECT_THAT(frame.binary, StartsWith(kFixtures));
    EXPECT_GE(frame.address, frame.mapping_start);
    EXPECT_LT(frame.address, frame.mapping_end);
    EXPECT_EQ(frame.build_id.size(), 40u);
  }
}

TEST_P(WithDebugInformation, FoldsTheRuntimeToTheCallTheProgramMade) {
  const Running program({kFixtures + GetParam()});
  const auto symbols = ProcessSymbols::open(program.pid());
  ASSERT_TRUE(symbols) << symbols.error().message();
  std::vector<uint64_t> stack = program.fiber;
  stack.erase(stack.begin());  // take_stack is not the runtime's
  // As of a real fiber: the chain ends at its entry.
  const auto all = (*symbols)->stack(stack, false);
  size_t entry = 0;
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].function == "fiber_entry") entry = i;
  ASSERT_GT(entry, 0u);
  while (!stack.empty() && (*symbols)->resolve(stack.back(), true).back().function != "fiber_entry") stack.pop_back();
  const auto folded = names((*symbols)->stack(stack, true));
  ASSERT_EQ(folded.size(), 3u);
  EXPECT_EQ(folded[0], "fiber::Channel<int>::receive");
  EXPECT_EQ(folded[1], "app::consume<int>");
  EXPECT_THAT(folded[2], HasSubstr("main")) << "the spawned lambda";
}

INSTANTIATE_TEST_SUITE_P(Symbol, WithDebugInformation,
                         ::testing::Values("debug", "no_pie", "dwarf4", "compressed", "static", "clang", "linked",
                                           "library"));

class SymbolsOnly : public ::testing::TestWithParam<const char*> {};

TEST_P(SymbolsOnly, HasEveryFunctionThatWasNotInlined) {
  const Running program({kFixtures + GetParam()});
  const auto symbols = ProcessSymbols::open(program.pid());
  ASSERT_TRUE(symbols) << symbols.error().message();
  const auto stack = up_to_main((*symbols)->stack(program.inlined, false));
  ASSERT_THAT(names(stack), ElementsAre("take_stack", "app::Program::outer"));
  EXPECT_EQ(stack[1].function, "app::Program::outer(int, char const*)");
}

INSTANTIATE_TEST_SUITE_P(Symbol, SymbolsOnly, ::testing::Values("no_debug", "split"));

TEST(Symbolizer, NamesPlacesInAStrippedProgramByBinaryAndOffset) {
  const Running program({kFixtures + "stripped"});
  const auto symbols = ProcessSymbols::open(program.pid());
  ASSERT_TRUE(symbols) << symbols.error().message();
  const auto& frames = (*symbols)->resolve(program.inlined[1], true);
  ASSERT_EQ(frames.size(), 1u);
  EXPECT_THAT(frames[0].function, StartsWith("stripped+0x"));
  // The offset is what `addr2line -e debug` takes.
  const Running whole({kFixtures + "debug"});
  const auto with_names = ProcessSymbols::open(whole.pid());
  ASSERT_TRUE(with_names);
  const auto& frame = (*with_names)->resolve(whole.inlined[1], true).back();
  EXPECT_EQ(frame.address & 0xfff, frames[0].address & 0xfff);
  char command[1024];
  std::snprintf(command, sizeof command, "addr2line -f -e %s %s", (kFixtures + "debug").c_str(),
                frames[0].function.c_str() + std::string("stripped+").size());
  FILE* pipe = popen(command, "r");
  ASSERT_NE(pipe, nullptr);
  char line[256] = "";
  EXPECT_NE(std::fgets(line, sizeof line, pipe), nullptr);
  pclose(pipe);
  EXPECT_THAT(std::string(line), HasSubstr("inner"));
}

TEST(Symbolizer, GoesOnWhenTheProcessHasEnded) {
  auto program = std::make_unique<Running>(std::vector<std::string>{kFixtures + "debug"});
  const auto symbols = ProcessSymbols::open(program->pid());
  ASSERT_TRUE(symbols) << symbols.error().message();
  const std::vector<uint64_t> addresses = program->inlined;
  program.reset();
  (*symbols)->refresh();
  EXPECT_THAT(names(up_to_main((*symbols)->stack(addresses, false))),
              ElementsAre("take_stack", "app::inner", "app::middle", "app::Program::outer"));
}

TEST(Symbolizer, FindsSeparateDebugFilesUnderTheTargetsOwnRoot) {
  if (geteuid() != 0) GTEST_SKIP() << "chroot needs root";
  char name[] = "/tmp/fiberprof-root-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string root = name;
  const auto run = [](const std::string& command) { EXPECT_EQ(std::system(command.c_str()), 0) << command; };
  run("strip -o " + root + "/program " + kFixtures + "static");
  run("objcopy --only-keep-debug " + kFixtures + "static " + root + "/all.debug");
  {
    const Running program({"/usr/sbin/chroot", root, "/program"});
    const auto symbols = ProcessSymbols::open(program.pid());
    ASSERT_TRUE(symbols) << symbols.error().message();
    const Frame frame = (*symbols)->resolve(program.inlined[1], true)[0];
    EXPECT_THAT(frame.function, StartsWith("program+0x"));
    ASSERT_GT(frame.build_id.size(), 2u);
    const std::string directory = root + "/usr/lib/debug/.build-id/" + frame.build_id.substr(0, 2);
    std::filesystem::create_directories(directory);
    std::filesystem::rename(root + "/all.debug", directory + "/" + frame.build_id.substr(2) + ".debug");
  }
  const Running program({"/usr/sbin/chroot", root, "/program"});
  const auto symbols = ProcessSymbols::open(program.pid());
  ASSERT_TRUE(symbols) << symbols.error().message();
  EXPECT_THAT(names(up_to_main((*symbols)->stack(program.inlined, false))),
              ElementsAre("take_stack", "app::inner", "app::middle", "app::Program::outer"));
  std::filesystem::remove_all(root);
}

TEST(Symbolizer, NamesTheVdso) {
  const auto symbols = ProcessSymbols::open(static_cast<uint32_t>(getpid()));
  ASSERT_TRUE(symbols);
  // Somewhere in it there is clock_gettime.
  bool found = false;
  std::ifstream maps("/proc/self/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line.find("[vdso]") == std::string::npos) continue;
    const uint64_t start = std::strtoull(line.c_str(), nullptr, 16);
    for (uint64_t offset = 0; offset < 8192 && !found; offset += 16)
      found = (*symbols)->resolve(start + offset, false)[0].function.find("clock_gettime") != std::string::npos;
  }
  EXPECT_TRUE(found);
}

TEST(Symbolizer, NamesCodeWithoutAFileByItsMapping) {
  void* code = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(code, MAP_FAILED);
  const auto symbols = ProcessSymbols::open(static_cast<uint32_t>(getpid()));
  ASSERT_TRUE(symbols);
  const auto& frame = (*symbols)->resolve(reinterpret_cast<uint64_t>(code) + 0x123, false)[0];
  EXPECT_THAT(frame.function, StartsWith("[anon]+0x"));
  munmap(code, 4096);
  for (const uint64_t nowhere : {uint64_t{0}, uint64_t{1}, UINT64_MAX})
    for (const bool is_return : {false, true})
      EXPECT_EQ((*symbols)->resolve(nowhere, is_return)[0].function, "[unknown]");
}

TEST(Symbolizer, SeesLibrariesThatCameLaterAfterRefresh) {
  const auto symbols = ProcessSymbols::open(static_cast<uint32_t>(getpid()));
  ASSERT_TRUE(symbols);
  void* code = mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(code, MAP_FAILED);
  (*symbols)->refresh();
  EXPECT_THAT((*symbols)->resolve(reinterpret_cast<uint64_t>(code), false)[0].function, StartsWith("[anon]"));
  munmap(code, 4096);
}

TEST(KernelFrame, IsNeverEmpty) {
  EXPECT_THAT(kernel_frame(0xffffffff00000001).function, Not(IsEmpty()));
  EXPECT_EQ(kernel_frame(0x10).function, "[kernel]+0x10");
  EXPECT_THAT(kernel_frame(0x10).binary, StartsWith("[kernel]"));
  // A function every kernel has, when its address may be seen.
  std::ifstream kallsyms("/proc/kallsyms");
  for (std::string line; std::getline(kallsyms, line);) {
    if (!line.ends_with(" T schedule") || line.starts_with("0000000000000000")) continue;
    EXPECT_EQ(kernel_frame(std::strtoull(line.c_str(), nullptr, 16) + 4).function, "schedule");
    return;
  }
  GTEST_SKIP() << "kernel addresses are hidden (kernel.kptr_restrict)";
}

}  // namespace
}  // namespace fiberprof
