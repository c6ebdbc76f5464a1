// SPDX-License-Identifier: BSD-2-Clause
// fiberprof diff on dumps of programs whose fibers are known, and on files that are no dumps.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>

#include "integration/tool.h"
#include "process/child.h"
#include "process/core_of.h"

namespace fiberprof::test {
namespace {

using nlohmann::json;

class Diff : public testing::Test {
 protected:
  // The dump of a many_parked with so many fibers, all of which wait.
  std::string dump_of(int fibers, const std::string& options = "--group") {
    Child target({program("many_parked"), std::to_string(fibers)});
    const std::string file = scratch_ / (std::to_string(++files_) + ".json");
    for (;;) {
      const CommandResult result = tool("dump " + std::to_string(target.pid()) + " --json " + options + " > " + file);
      EXPECT_EQ(result.status, 0) << result.output;
      const json dump = json::parse(slurp(file), nullptr, false);
      if (result.status != 0 || dump["states"].value("parked", 0) == fibers) return file;
    }
  }
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(scratch_ / name) << text;
    return scratch_ / name;
  }
  static json diff_json(const std::string& arguments, int status) {
    const CommandResult result = tool("diff --json " + arguments);
    EXPECT_EQ(result.status, status) << result.output;
    return json::parse(result.output, nullptr, false);
  }
  ScratchDirectory scratch_;
  int files_ = 0;
};

TEST_F(Diff, OfTheSameIsNothing) {
  const std::string file = dump_of(100);
  const json diff = diff_json(file + " " + file + " --fail-over 0", 0);
  EXPECT_TRUE(diff["changed"].empty());
  EXPECT_EQ(diff["over"], 0);
  EXPECT_GE(diff["unchanged"], 3);  // receivers, lockers, main
}

// Two runs: other addresses, other ids.
TEST_F(Diff, OfTwoRunsIsNothingEither) {
  const json diff = diff_json(dump_of(100) + " " + dump_of(100, "-n 0") + " --fail-over 0", 0);
  EXPECT_TRUE(diff["changed"].empty()) << diff.dump(2);
}

TEST_F(Diff, GrowthBeyondTheLimitIsAFinding) {
  const std::string base = dump_of(100), now = dump_of(150);
  const json diff = diff_json(base + " " + now + " --fail-over 40%", 3);
  EXPECT_EQ(diff["over"], 2);
  ASSERT_EQ(diff["changed"].size(), 2u) << diff.dump(2);
  EXPECT_EQ(diff["changed"][0]["base"], 90);
  EXPECT_EQ(diff["changed"][0]["new"], 135);
  EXPECT_EQ(diff["changed"][0]["reason"], "chan receive");
  EXPECT_TRUE(stack_has(diff["changed"][0], "app::wait_for_work"));
  EXPECT_EQ(diff["changed"][1]["base"], 10);
  EXPECT_EQ(diff["changed"][1]["new"], 15);
  EXPECT_EQ(diff["changed"][1]["over"], true);
  EXPECT_EQ(tool("diff " + base + " " + now + " --fail-over 50").status, 0) << "50 % is not beyond 50 %";
  EXPECT_EQ(tool("diff " + base + " " + now).status, 0) << "nobody asked for a limit";
  EXPECT_EQ(tool("diff " + now + " " + base + " --fail-over 0").status, 0) << "fewer is fine";
  const json big = diff_json(base + " " + now + " --fail-over 40 --min 100", 3);
  EXPECT_EQ(big["over"], 1);
  const std::string text = tool("diff " + base + " " + now + " --fail-over 40").output;
  for (const char* expected : {"90 → 135  chan receive, grew by 50 %", "app::wait_for_work",
                               "many_parked.cpp:", "2 over the limit (new, or grown by more than 40 %)"})
    EXPECT_NE(text.find(expected), std::string::npos) << expected << "\nnot in\n" << text;
}

TEST_F(Diff, ANewGroupIsAlwaysOver) {
  const std::string base = dump_of(1), now = dump_of(10);  // the first fiber wants the mutex, the others a channel
  const json diff = diff_json(base + " " + now + " --fail-over 1000", 3);
  EXPECT_EQ(diff["over"], 1);
  ASSERT_EQ(diff["changed"].size(), 1u);
  EXPECT_EQ(diff["changed"][0]["base"], 0);
  EXPECT_EQ(diff["changed"][0]["new"], 9);
  const json back = diff_json(now + " " + base + " --fail-over 0", 0);
  EXPECT_EQ(back["changed"][0]["new"], 0);
  EXPECT_NE(tool("diff " + now + " " + base).output.find("9 → 0  chan receive, gone"), std::string::npos);
}

TEST_F(Diff, ListsAndGroupsCompare) {
  const json diff = diff_json(dump_of(100) + " " + dump_of(120, "--all-frames --group"), 1);
  EXPECT_TRUE(diff.is_discarded()) << "one shows all frames";
  const json lists = diff_json(dump_of(100, "--by fiber") + " " + dump_of(120), 0);
  EXPECT_EQ(lists["changed"].size(), 2u) << lists.dump(2);
}

TEST_F(Diff, WhatIsNoDumpIsSaid) {
  const std::string good = dump_of(1);
  const auto expect = [&](const std::string& file, const std::string& text) {
    for (const std::string& arguments : {file + " " + good, good + " " + file}) {
      const CommandResult result = tool("diff " + arguments);
      EXPECT_EQ(result.status, 1) << arguments;
      EXPECT_NE(result.output.find(text), std::string::npos) << arguments << ": " << result.output;
    }
  };
  expect(scratch_ / "none", "No such file");
  expect(scratch_.path(), "it is a directory");
  expect(write("empty", ""), "not a dump in JSON");
  expect(write("list", "[1, 2, 3]"), "not a dump in JSON");
  expect(write("cut", slurp(good).substr(0, 200)), "not a dump in JSON");
  expect(write("recording", "\x1f\x8b\x08 and so on"), "it is a recording");
  expect(write("future", R"({"dump": 2, "groups": []})"), "format 2");
  expect(write("objects", R"({"dump": 1, "objects": []})"), "neither groups nor fibers");
  EXPECT_EQ(tool("diff " + good).status, 2);
  EXPECT_EQ(tool("diff " + good + " " + good + " --fail-over much").status, 2);
  EXPECT_EQ(tool("diff " + good + " " + good + " --fail-over -1").status, 2);
  // Of the right kind, with nonsense in it: what cannot be understood is nothing.
  const std::string odd =
      write("odd", R"({"dump":1,"process":7,"groups":[3,null,{"count":"x","stack":[1,{"function":2}]},
      {"count":5,"state":"parked","reason":"\u001b[31mred","stack":{"a":{}}}]})");
  const CommandResult result = tool("diff " + good + " " + odd);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_EQ(result.output.find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace fiberprof::test
