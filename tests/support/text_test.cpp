// SPDX-License-Identifier: BSD-2-Clause
#include "support/text.h"

#include <gtest/gtest.h>

#include <random>

namespace fiberprof {
namespace {

TEST(Sanitize, LeavesOrdinaryTextAlone) {
  EXPECT_EQ(sanitize("std::vector<int>::push_back(int const&)"), "std::vector<int>::push_back(int const&)");
  EXPECT_EQ(sanitize("Grüße 日本語"), "Grüße 日本語");
}

TEST(Sanitize, RemovesEscapeSequencesWhole) {
  EXPECT_EQ(sanitize("a\x1b[31;1mred\x1b[0mb"), "aredb");
  EXPECT_EQ(sanitize("a\x1b]0;title\x07z"), "az");
  EXPECT_EQ(sanitize("a\x1b]52;c;ZXZpbA==\x1b\\z"), "az");
  EXPECT_EQ(sanitize("a\x1bPq#0\x1b\\z"), "az");
  EXPECT_EQ(sanitize("a\x1b(Bz"), "az");
  EXPECT_EQ(sanitize("a\x1b"), "a");
  EXPECT_EQ(sanitize("a\x1b[12"), "a");
  EXPECT_EQ(sanitize("a\xc2\x9b"
                     "31mz"),
            "a31mz");  // C1 form of CSI: the control goes
}

TEST(Sanitize, UnterminatedStringDoesNotSwallowTheName) { EXPECT_EQ(sanitize("\x1b]visible"), "visible"); }

TEST(Sanitize, RemovesControlsAndReorderingCharacters) {
  EXPECT_EQ(sanitize(std::string("a\0b\x07"
                                 "c\x7f"
                                 "d",
                                 7)),
            "abcd");
  EXPECT_EQ(sanitize("a\tb\nc\rd"), "a b c d");
  EXPECT_EQ(sanitize("a\u202Eb\u2066c\u200Fd\u061Ce\uFEFFf\u200Bg"), "abcdefg");
}

TEST(Sanitize, ReplacesBytesThatAreNotUtf8) {
  EXPECT_EQ(sanitize("a\xff z"), "a\uFFFD z");
  EXPECT_EQ(sanitize("\xc0\xaf"), "\uFFFD\uFFFD");            // overlong
  EXPECT_EQ(sanitize("\xed\xa0\x80"), "\uFFFD\uFFFD\uFFFD");  // surrogate
  EXPECT_EQ(sanitize("\xe2\x82"), "\uFFFD\uFFFD");            // cut
  EXPECT_EQ(sanitize("\xf4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
}

// Any bytes at all give clean text: nothing below a space, no DEL, and a second pass changes nothing.
TEST(Sanitize, RandomBytesAlwaysEndCleanAndStable) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    std::string text(random() % 24, '\0');
    for (char& c : text) c = static_cast<char>(random() % 4 == 0 ? "\x1b[]\\\x07m;1"[random() % 8] : random());
    const std::string once = sanitize(text);
    for (const char c : once) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
    ASSERT_EQ(sanitize(once), once);
    ASSERT_LE(display_width(fit(text, 5)), 5u);
  }
}

TEST(XmlEscape, LeavesNoMarkup) {
  EXPECT_EQ(xml_escape("a<b> & \"c\" 'd'\x1b[1m"), "a&lt;b&gt; &amp; &quot;c&quot; &#39;d&#39;");
  EXPECT_EQ(xml_escape("</text><script>"), "&lt;/text&gt;&lt;script&gt;");
}

TEST(Fit, OrCutsTheBeginning) {
  EXPECT_EQ(fit_end("abcdef", 6), "abcdef");
  EXPECT_EQ(fit_end("abcdef", 5), "…cdef");
  EXPECT_EQ(fit_end("xäöüß", 4), "…öüß");
  EXPECT_EQ(fit_end("日本語", 5), "…本語");
  EXPECT_EQ(fit_end("日本語", 4), "…語");
  EXPECT_EQ(fit_end("abc", 0), "");
}

TEST(Fit, CutsByColumnsNotBytes) {
  EXPECT_EQ(fit("abcdef", 6), "abcdef");
  EXPECT_EQ(fit("abcdef", 5), "abcd…");
  EXPECT_EQ(fit("äöüß", 4), "äöüß");
  EXPECT_EQ(fit("äöüßx", 4), "äöü…");
  EXPECT_EQ(fit("日本語", 6), "日本語");
  EXPECT_EQ(fit("日本語", 5), "日本…");
  EXPECT_EQ(fit("日本語", 4), "日…");
  EXPECT_EQ(fit("abc", 0), "");
}

TEST(FormatCount, IsCompact) {
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1.00k");
  EXPECT_EQ(format_count(12'345), "12.3k");
  EXPECT_EQ(format_count(123'456), "123k");
  EXPECT_EQ(format_count(999'999), "1.00M");
  EXPECT_EQ(format_count(18'446'744'073'709'551'615ull), "18.4E");
}

}  // namespace
}  // namespace fiberprof
