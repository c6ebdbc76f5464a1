// SPDX-License-Identifier: BSD-2-Clause
#include "kvd/glob.h"

#include <gtest/gtest.h>

#include <string>

namespace kvd {
namespace {

TEST(Glob, Matches) {
  const std::pair<const char*, const char*> cases[] = {
      {"", ""},         {"*", ""},          {"*", "anything"},        {"a*", "a"},
      {"a*c", "abbbc"}, {"a*c", "ac"},      {"*b*", "abc"},           {"?", "x"},
      {"a?c", "abc"},   {"[abc]", "b"},     {"[a-c]x", "cx"},         {"[c-a]", "b"},
      {"[^a]", "b"},    {"\\*", "*"},       {"\\?x", "?x"},           {"[\\]]", "]"},
      {"[\\-]", "-"},   {"**a**", "a"},     {"key:*:x", "key:1:2:x"}, {"[a", "a"},
      {"a\\", "a\\"},   {"*aab", "aaaaab"}, {"h[ae]llo", "hello"},
  };
  for (const auto& [pattern, text] : cases) {
    EXPECT_TRUE(glob_match(pattern, text)) << pattern << " " << text;
  }
}

TEST(Glob, DoesNotMatch) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "a"},       {"a", ""},    {"?", ""},    {"a", "A"},       {"a*c", "ab"},   {"[abc]", "d"}, {"[^a]", "a"},
      {"[^a-z]", "q"}, {"\\*", "x"}, {"[]a", "a"}, {"a*b*c", "acb"}, {"abc", "abcd"}, {"*x", "xy"},
  };
  for (const auto& [pattern, text] : cases) EXPECT_FALSE(glob_match(pattern, text)) << pattern << " " << text;
}

TEST(Glob, CaseCanBeIgnored) {
  EXPECT_TRUE(glob_match("APPend*", "appendonly", Case::insensitive));
  EXPECT_TRUE(glob_match("[A-C]", "b", Case::insensitive));
  EXPECT_FALSE(glob_match("APPend*", "appendonly"));
}

// With a recursive matcher this takes longer than the universe has existed.
TEST(Glob, ManyStarsAreNotExponential) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "a*";
  EXPECT_FALSE(glob_match(pattern + "b", std::string(10000, 'a')));
}

}  // namespace
}  // namespace kvd
