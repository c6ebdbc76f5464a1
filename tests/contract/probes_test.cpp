// SPDX-License-Identifier: BSD-2-Clause
// The probes as other tools see them, in a binary as users build it: readelf and objdump did not come from us.
#include <gtest/gtest.h>

#include <map>
#include <regex>
#include <sstream>

#include <fiberprof/probes.h>
#include <fiberprof/registry.h>

#include "support/command.h"

namespace {

struct Expected {
  std::string name;
  int arguments;
};

const std::vector<Expected>& expected() {
  static const std::vector<Expected> list = {
#define FIBER_EXPECTED(name, nargs, args) {#name, nargs},
      FIBERPROF_PROBES(FIBER_EXPECTED)
#undef FIBER_EXPECTED
  };
  return list;
}

const std::string kBinary = std::string(FIBERPROF_BUILD_DIR) + "/tests/programs/known_waits";
const std::string kLibrary = std::string(FIBERPROF_BUILD_DIR) + "/lib/libfiberrt.so";

struct Note {
  std::uint64_t location = 0, base = 0, semaphore = 0;
  std::string arguments;
};

std::map<std::string, Note> notes_of(const std::string& binary) {
  std::map<std::string, Note> notes;
  std::istringstream lines(run_command("readelf -n " + binary).output);
  std::string line, name;
  std::smatch match;
  while (std::getline(lines, line)) {
    if (std::regex_search(line, match, std::regex("Name: (\\S+)"))) {
      name = match[1];
    } else if (std::regex_search(line, match, std::regex("Location: (\\S+), Base: (\\S+), Semaphore: (\\S+)"))) {
      notes[name] = {std::stoull(match[1], nullptr, 16), std::stoull(match[2], nullptr, 16),
                     std::stoull(match[3], nullptr, 16), ""};
    } else if (std::regex_search(line, match, std::regex("Arguments: (.*)$"))) {
      notes[name].arguments = match[1];
    }
  }
  return notes;
}

}  // namespace

TEST(Probes, EveryProbeOfTheListIsANormalNoteWithASemaphore) {
  for (const std::string& binary : {kBinary, kLibrary}) {
    const auto notes = notes_of(binary);
    EXPECT_EQ(notes.size(), expected().size()) << binary;
    for (const Expected& probe : expected()) {
      SCOPED_TRACE(binary + " " + probe.name);
      ASSERT_TRUE(notes.contains(probe.name));
      const Note& note = notes.at(probe.name);
      EXPECT_NE(note.location, 0u);
      EXPECT_NE(note.semaphore, 0u);
      EXPECT_NE(note.base, 0u);
#if defined(__x86_64__)
      static const char* registers[] = {"rdi", "rsi", "rdx", "rcx", "r8", "r9", "r10"};
      std::string arguments;
      for (int i = 0; i < probe.arguments; ++i) arguments += std::string(i ? " " : "") + "8@%" + registers[i];
      EXPECT_EQ(note.arguments, arguments);
#endif
    }
  }
}

TEST(Probes, SemaphoresOfTheHotProbesShareTwoAlignedWords) {
  const auto notes = notes_of(kBinary);
  const std::uint64_t first = notes.at("park").semaphore;
  EXPECT_EQ(first % 8, 0u);
  EXPECT_EQ(notes.at("unpark").semaphore, first + 2);
  EXPECT_EQ(notes.at("blocked").semaphore, first + 4);
  EXPECT_EQ(notes.at("blocked_sampled").semaphore, first + 6);
  EXPECT_EQ(notes.at("chan_send").semaphore, first + 8);
  EXPECT_EQ(notes.at("chan_recv").semaphore, first + 10);
  EXPECT_EQ(notes.at("select").semaphore, first + 12);
  EXPECT_EQ(notes.at("chan_close").semaphore, first + 14);
}

#if defined(__x86_64__)
TEST(Probes, SitesHaveAFrameThreeNopFormsAndNoRedZone) {
  for (const std::string& binary : {kBinary, kLibrary}) {
    const auto notes = notes_of(binary);
    for (const Expected& probe : expected()) {
      SCOPED_TRACE(binary + " " + probe.name);
      const std::string text =
          run_command("objdump -d --no-show-raw-insn --disassemble=fiberprof_site_" + probe.name + " " + binary).output;
      const std::size_t body = text.find("<fiberprof_site_" + probe.name + ">:");
      ASSERT_NE(body, std::string::npos);
      const std::string code = text.substr(body);
      // The frame is set up before the probed instruction, so a frame-pointer walk finds the caller.
      const std::size_t frame = code.find("mov    %rsp,%rbp");
      std::ostringstream address;
      address << std::hex << notes.at(probe.name).location << ":\tnop";
      const std::size_t nop = code.find(address.str());
      ASSERT_NE(nop, std::string::npos) << code;
      ASSERT_NE(frame, std::string::npos) << code;
      EXPECT_LT(frame, nop);
      std::smatch match;
      const std::string rest = code.substr(nop);
      EXPECT_TRUE(std::regex_search(
          rest, match,
          std::regex("^[0-9a-f]+:\\tnop\\s*\\n\\s*[0-9a-f]+:\\t(cs )?nopw[^\\n]*\\n\\s*[0-9a-f]+:\\tnopl[^\\n]*\\n")))
          << rest;
      // A call that the kernel puts here writes below the stack pointer.
      EXPECT_FALSE(std::regex_search(code, std::regex("-0x[0-9a-f]+\\(%rsp\\)"))) << code;
    }
  }
}

TEST(Probes, NopFormsHaveTheBytesTheKernelRecognises) {
  const auto notes = notes_of(kBinary);
  const Note& note = notes.at("blocked");
  std::ostringstream range;
  range << "objdump -d -j .text --start-address=" << note.location << " --stop-address=" << note.location + 16 << " "
        << kBinary;
  const std::string text = run_command(range.str()).output;
  EXPECT_NE(text.find("90 "), std::string::npos) << text;
  EXPECT_NE(text.find("66 2e 0f 1f 84 00 00"), std::string::npos) << text;
  EXPECT_NE(text.find("0f 1f 44 00 00"), std::string::npos) << text;
}
#endif

TEST(Registry, NoteAndSymbolAreThereAndTheNoteSurvivesStrip) {
  const std::string symbols = run_command("readelf -sW " + kLibrary).output;
  EXPECT_TRUE(std::regex_search(symbols, std::regex("OBJECT\\s+GLOBAL\\s+DEFAULT\\s+\\d+ " FIBERPROF_REGISTRY_SYMBOL)));
  const std::string stripped = testing::TempDir() + "/stripped_known_waits";
  ASSERT_EQ(run_command("strip -s -o " + stripped + " " + kBinary).status, 0);
  for (const std::string& binary : {kBinary, stripped, kLibrary}) {
    EXPECT_NE(run_command("readelf -n " + binary).output.find("fiberprof"), std::string::npos) << binary;
    EXPECT_EQ(notes_of(binary).size(), expected().size()) << binary;
  }
}

TEST(Probes, BpftraceListsThem) {
  if (run_command("command -v bpftrace").status != 0) GTEST_SKIP() << "bpftrace is not installed";
  const std::string listed = run_command("bpftrace -l 'usdt:" + kBinary + ":*'").output;
  for (const Expected& probe : expected()) EXPECT_NE(listed.find(":fiber:" + probe.name), std::string::npos) << listed;
}
