// SPDX-License-Identifier: BSD-2-Clause
// fiberprof list, as a user runs it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "process/child.h"

namespace fiberprof {
namespace {

using test::Child;
using test::fixture_path;
using ::testing::HasSubstr;

std::string output_of(const std::string& arguments) {
  std::string text;
  FILE* pipe = popen((FIBERPROF_BUILD_DIR "/bin/fiberprof " + arguments).c_str(), "r");
  EXPECT_NE(pipe, nullptr);
  char buffer[4096];
  while (const size_t got = fread(buffer, 1, sizeof buffer, pipe)) text.append(buffer, got);
  EXPECT_EQ(pclose(pipe), 0) << arguments;
  return text;
}

std::optional<nlohmann::json> row_of(const std::string& json, uint32_t pid) {
  for (const auto& row : nlohmann::json::parse(json))
    if (row["pid"] == pid) return row;
  return std::nullopt;
}

TEST(List, ShowsAProcessWithItsNumbers) {
  Child child({fixture_path("fiber_target"), "1234"}), plain({fixture_path("plain")});
  const std::string json = output_of("list --json");
  const auto row = row_of(json, child.pid());
  ASSERT_TRUE(row) << json;
  EXPECT_EQ((*row)["name"], "fiber_target");
  EXPECT_EQ((*row)["fibers"], 1234);
  EXPECT_EQ((*row)["processors"], 2);
  EXPECT_EQ((*row)["workers"], 2);
  EXPECT_EQ((*row)["binary"], fixture_path("fiber_target"));
  EXPECT_FALSE(row_of(json, plain.pid()));

  const std::string table = output_of("list");
  EXPECT_THAT(table, HasSubstr("  NAME "));
  EXPECT_THAT(table, ::testing::ContainsRegex(std::to_string(child.pid()) + "  fiber_target +1234 +2 +2 "));
}

TEST(List, SaysWhoAProcessIsInsideItsContainer) {
  if (geteuid() != 0) GTEST_SKIP() << "only root may make pid namespaces";
  Child child({"/usr/bin/unshare", "--pid", "--fork", "--kill-child", fixture_path("fiber_target")});
  bool found = false;
  for (const auto& row : nlohmann::json::parse(output_of("list -a --json")))
    found |= row["name"] == "fiber_target" && row["pid_in_its_namespace"] == 1 && row["pid"] != 1;
  EXPECT_TRUE(found);
  EXPECT_THAT(output_of("list -a"), HasSubstr("PID  INSIDE  NAME"));
}

TEST(List, NamesOfTheTargetCannotControlTheTerminal) {
  char directory[] = "/tmp/fiberprof-list-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string path = std::string(directory) + "/\x1b[2Jevil\n<b>";
  std::filesystem::copy_file(fixture_path("fiber_target"), path);
  {
    Child child({path});
    for (const char* arguments : {"list", "list --json"}) {
      const std::string text = output_of(arguments);
      EXPECT_THAT(text, HasSubstr("evil <b>"));
      EXPECT_EQ(text.find('\x1b'), std::string::npos);
    }
  }
  std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace fiberprof
