// SPDX-License-Identifier: BSD-2-Clause
#include "support/duration.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

namespace fiberprof {
namespace {

TEST(ParseDuration, ReadsEveryUnit) {
  EXPECT_EQ(parse_duration("7ns").value(), 7u);
  EXPECT_EQ(parse_duration("10us").value(), 10'000u);
  EXPECT_EQ(parse_duration("10µs").value(), 10'000u);
  EXPECT_EQ(parse_duration("5ms").value(), 5'000'000u);
  EXPECT_EQ(parse_duration("2s").value(), 2'000'000'000u);
  EXPECT_EQ(parse_duration("1m").value(), 60'000'000'000u);
  EXPECT_EQ(parse_duration("1h").value(), 3'600'000'000'000u);
  EXPECT_EQ(parse_duration("1d").value(), 86'400'000'000'000u);
}

TEST(ParseDuration, ReadsFractionsAndSumsExactly) {
  EXPECT_EQ(parse_duration("1.5s").value(), 1'500'000'000u);
  EXPECT_EQ(parse_duration(".25ms").value(), 250'000u);
  EXPECT_EQ(parse_duration("1m30s").value(), 90'000'000'000u);
  EXPECT_EQ(parse_duration("0.1s").value(), 100'000'000u);
  EXPECT_EQ(parse_duration("0").value(), 0u);
}

TEST(ParseDuration, RefusesWhatIsNoDuration) {
  for (const char* text : {"", "s", "10", "10x", "-1s", "1 s", "1..5s", "1s2", ".", ".s", "99999999999999999999s",
                           "999999999999d", "1e3s", "0x10s"}) {
    const auto result = parse_duration(text);
    ASSERT_FALSE(result) << text;
    EXPECT_EQ(result.error().code, ExitCode::usage);
    EXPECT_FALSE(result.error().why.empty()) << text;
  }
}

TEST(ParseDuration, ABareNumberCountsTheGivenUnit) {
  EXPECT_EQ(parse_duration("2", 1'000'000'000).value(), 2'000'000'000u);
  EXPECT_EQ(parse_duration("0.5", 1'000'000'000).value(), 500'000'000u);
  EXPECT_EQ(parse_duration("20ms", 1'000'000'000).value(), 20'000'000u);
  EXPECT_FALSE(parse_duration("1m30", 1'000'000'000));
  EXPECT_FALSE(parse_duration("x", 1'000'000'000));
}

TEST(FormatDuration, KeepsThreeDigits) {
  EXPECT_EQ(format_duration(0), "0");
  EXPECT_EQ(format_duration(87), "87ns");
  EXPECT_EQ(format_duration(999), "999ns");
  EXPECT_EQ(format_duration(1000), "1.00us");
  EXPECT_EQ(format_duration(1'234'567), "1.23ms");
  EXPECT_EQ(format_duration(12'345'678), "12.3ms");
  EXPECT_EQ(format_duration(123'456'789), "123ms");
  EXPECT_EQ(format_duration(999'499), "999us");
  EXPECT_EQ(format_duration(999'500), "1.00ms");
  EXPECT_EQ(format_duration(9'996'000), "10.0ms");
  EXPECT_EQ(format_duration(42'000'000'000), "42.0s");
  EXPECT_EQ(format_duration(245'000'000'000), "4m05s");
  EXPECT_EQ(format_duration(11'220'000'000'000), "3h07m");
}

TEST(FormatDuration, NeverTakesMoreThanSixColumns) {
  for (uint64_t ns = 1; ns < std::numeric_limits<uint64_t>::max() / 3; ns = ns * 3 / 2 + 1) {
    EXPECT_LE(format_duration(ns).size(), 6u) << ns << " " << format_duration(ns);
    EXPECT_LE(format_duration(ns - 1).size(), 6u) << ns;
  }
}

}  // namespace
}  // namespace fiberprof
