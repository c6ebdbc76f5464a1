// SPDX-License-Identifier: BSD-2-Clause
#include "kvd/request.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <limits>

#include "kvd/read_buffer.h"

namespace kvd {
namespace {

using testing::ElementsAre;
using Status = RequestParser::Status;
using Words = std::vector<std::string>;

struct Outcome {
  std::vector<Words> requests;  // empty ones too
  std::string error;
  std::string rest;
};

// Feeds the pieces one after the other, in memory that moves each time, as a connection may.
Outcome feed(const std::vector<std::string>& pieces) {
  Outcome outcome;
  RequestParser parser;
  std::string held;
  for (const std::string& piece : pieces) {
    held += piece;
    while (!held.empty()) {
      const std::string moved(held);
      const Status status = parser.parse(moved);
      if (status == Status::incomplete) {
        EXPECT_GT(parser.wanted(), moved.size()) << "it must want more than it has";
        break;
      }
      if (status == Status::error) {
        outcome.error = parser.error();
        return outcome;
      }
      outcome.requests.emplace_back(parser.arguments().begin(), parser.arguments().end());
      held.erase(0, parser.consumed());
      parser.reset();
    }
  }
  outcome.rest = held;
  return outcome;
}

const std::string kMixed =
    "*1\r\n$4\r\nPING\r\n"
    "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$7\r\na\r\nb*$\r\r\n"
    "\r\n"
    "*0\r\n"
    "set key \"a \\x41\\n\\\"\" 'it\\'s'\r\n"
    "*2\r\n$0\r\n\r\n$12\r\n0123456789ab\r\n"
    "*-1\r\n"
    "PING\n"
    "*1\r\n$4\r\nQUIT\r\n";
const std::vector<Words> kMixedRequests = {
    {"PING"}, {"SET", "k", "a\r\nb*$\r"}, {}, {}, {"set", "key", "a A\n\"", "it's"}, {"", "0123456789ab"}, {}, {"PING"},
    {"QUIT"}};

TEST(Request, AllAtOnce) {
  const Outcome outcome = feed({kMixed});
  EXPECT_EQ(outcome.requests, kMixedRequests);
  EXPECT_EQ(outcome.error, "");
  EXPECT_EQ(outcome.rest, "");
}

TEST(Request, SplitAtEveryByte) {
  for (std::size_t at = 0; at <= kMixed.size(); ++at) {
    const Outcome outcome = feed({kMixed.substr(0, at), kMixed.substr(at)});
    ASSERT_EQ(outcome.requests, kMixedRequests) << "split at " << at;
  }
}

TEST(Request, ByteByByte) {
  std::vector<std::string> bytes;
  for (const char c : kMixed) bytes.emplace_back(1, c);
  EXPECT_EQ(feed(bytes).requests, kMixedRequests);
}

TEST(Request, EveryPrefixIsIncomplete) {
  const std::string request = "*2\r\n$3\r\nGET\r\n$5\r\nhello\r\n";
  for (std::size_t length = 0; length < request.size(); ++length) {
    RequestParser parser;
    ASSERT_EQ(parser.parse(request.substr(0, length)), Status::incomplete) << length;
  }
}

TEST(Request, ErrorsAreThoseOfRedis) {
  const std::pair<std::string, std::string> cases[] = {
      {"*x\r\n", "invalid multibulk length"},
      {"*\r\n", "invalid multibulk length"},
      {"*1 \r\n", "invalid multibulk length"},
      {"*+1\r\n", "invalid multibulk length"},
      {"*01\r\n", "invalid multibulk length"},
      {"*99999999999999999999\r\n", "invalid multibulk length"},
      {"*1048577\r\n", "invalid multibulk length"},
      {"*1\r\n+4\r\n", "expected '$', got '+'"},
      {"*2\r\n$1\r\na\r\n*1\r\n", "expected '$', got '*'"},
      {"*1\r\n$x\r\n", "invalid bulk length"},
      {"*1\r\n$-1\r\n", "invalid bulk length"},
      {"*1\r\n$536870913\r\n", "invalid bulk length"},
      {"GET \"open\r\n", "unbalanced quotes in request"},
      {"GET 'a'b\r\n", "unbalanced quotes in request"},
      {std::string(70000, 'a'), "too big inline request"},
      {"*" + std::string(70000, '1'), "too big mbulk count string"},
      {"*1\r\n$" + std::string(70000, '1'), "too big bulk count string"},
  };
  for (const auto& [input, error] : cases) {
    EXPECT_EQ(feed({input}).error, "ERR Protocol error: " + error) << input.substr(0, 40);
  }
}

TEST(Request, WhatComesBeforeAnErrorIsParsed) {
  const Outcome outcome = feed({"PING\r\n*1\r\n$-5\r\n"});
  EXPECT_THAT(outcome.requests, ElementsAre(Words{"PING"}));
  EXPECT_EQ(outcome.error, "ERR Protocol error: invalid bulk length");
}

TEST(Request, LargestBulkIsAcceptedAndTellsWhatItWants) {
  RequestParser parser;
  const std::string header = "*1\r\n$536870912\r\n";
  EXPECT_EQ(parser.parse(header), Status::incomplete);
  EXPECT_EQ(parser.wanted(), header.size() + kMaxBulk + 2);
}

TEST(Request, ManyBulksTogetherAreBounded) {
  const std::string header = "*3\r\n$536870900\r\n", next = "\r\n$536870900\r\n";
  // The body is pages that are never touched: the parser does not look at it either.
  const std::size_t size = header.size() + 536870900 + next.size();
  void* const memory =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  char* const bytes = static_cast<char*>(memory);
  header.copy(bytes, header.size());
  next.copy(bytes + size - next.size(), next.size());
  RequestParser parser;
  EXPECT_EQ(parser.parse({bytes, size}), Status::error);
  EXPECT_EQ(parser.error(), "ERR Protocol error: too big request");
  ::munmap(memory, size);
}

TEST(ReadBuffer, AllocatesForWhatArrivedNotForWhatWasAnnounced) {
  ReadBuffer buffer;
  std::size_t received = 0;
  constexpr std::size_t kAnnounced = std::size_t{512} << 20;
  while (received < (4u << 20)) {
    const std::span<char> room = buffer.prepare(kAnnounced);
    ASSERT_FALSE(room.empty());
    ASSERT_LE(buffer.bytes().size() + room.size(), 2 * received + 2 * ReadBuffer::kInitial);
    const std::size_t some = std::min<std::size_t>(room.size(), 5000);
    for (std::size_t i = 0; i < some; ++i) room[i] = static_cast<char>('a' + (received + i) % 23);
    buffer.commit(some);
    received += some;
  }
  ASSERT_EQ(buffer.bytes().size(), received);
  std::string expected(received, ' ');
  for (std::size_t i = 0; i < received; ++i) expected[i] = static_cast<char>('a' + i % 23);
  EXPECT_TRUE(buffer.bytes() == expected);
}

TEST(ReadBuffer, KeepsTheBytesInOrderHoweverTheyAreTaken) {
  ReadBuffer buffer;
  unsigned written = 0, taken = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::span<char> room = buffer.prepare(buffer.bytes().size() + 1);
    const std::size_t some = std::min<std::size_t>(room.size(), 1 + static_cast<std::size_t>(round * 7919) % 3000);
    for (std::size_t i = 0; i < some; ++i) room[i] = static_cast<char>(written++ % 251);
    buffer.commit(some);
    std::size_t take = static_cast<std::size_t>(round * 104729) % (buffer.bytes().size() + 1);
    for (const char c : buffer.bytes().substr(0, take)) ASSERT_EQ(c, static_cast<char>(taken++ % 251));
    buffer.consume(take);
  }
  EXPECT_EQ(written - taken, buffer.bytes().size());
}

TEST(Integer, OnlyTheCanonicalForm) {
  std::int64_t value = 0;
  for (const char* bad : {"", "-", "+1", " 1", "1 ", "01", "-01", "-0", "1a", "0x1", "9223372036854775808",
                          "-9223372036854775809", "1.0"}) {
    EXPECT_FALSE(parse_integer(bad, value)) << bad;
  }
  EXPECT_TRUE(parse_integer("9223372036854775807", value));
  EXPECT_EQ(value, std::numeric_limits<std::int64_t>::max());
  EXPECT_TRUE(parse_integer("-9223372036854775808", value));
  EXPECT_EQ(value, std::numeric_limits<std::int64_t>::min());
  EXPECT_TRUE(parse_integer("0", value));
  EXPECT_EQ(value, 0);
}

TEST(SplitWords, QuotesAndEscapes) {
  Words words;
  EXPECT_TRUE(split_words("  a\tb  ", words));
  EXPECT_THAT(words, ElementsAre("a", "b"));
  EXPECT_TRUE(split_words(R"("" '' "\xff\x4" '\n')", words));
  EXPECT_THAT(words, ElementsAre("", "", "\xffx4", "\\n"));
  EXPECT_TRUE(split_words("", words));
  EXPECT_THAT(words, ElementsAre());
  for (const char* bad : {"\"", "'", "\"a\"b", "'a'b", "\"a\\\""}) EXPECT_FALSE(split_words(bad, words)) << bad;
}

}  // namespace
}  // namespace kvd
