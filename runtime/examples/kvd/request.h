// SPDX-License-Identifier: BSD-2-Clause
// Reads requests of the Redis protocol (RESP2): arrays of bulk strings, and inline commands.
// Specification: redis.io/docs/reference/protocol-spec; error texts are those of Redis.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvd {

// What a client may ask for at most. Nothing is allocated for what a client merely announces.
inline constexpr std::size_t kMaxBulk = 512u << 20;               // one argument
inline constexpr std::int64_t kMaxArguments = 1 << 20;            // arguments of one request
inline constexpr std::size_t kMaxLine = 64u << 10;                // an inline command, or a count
inline constexpr std::size_t kMaxRequest = std::size_t{1} << 30;  // all of one request

// Parses one request at a time and goes on where it stopped when more bytes are there, so that a request that arrives
// in many pieces is not read again from its start.
class RequestParser {
 public:
  enum class Status { complete, incomplete, error };

  // `input` is everything received since the first byte of the request, including what was given before; it may have
  // moved in memory. After `complete`, arguments() and consumed() tell the result until reset(). An empty request (an
  // empty line, `*0`) is complete and has no arguments.
  Status parse(std::string_view input);

  // Views into the input of the last parse() (into the parser itself for an inline command).
  std::span<const std::string_view> arguments() const { return views_; }
  // Length of the request in the input.
  std::size_t consumed() const { return position_; }
  // How many bytes the input will have at least when the request is complete; a hint for sizing reads.
  std::size_t wanted() const { return wanted_; }
  // After `error`: the text of the reply, without its prefix. The connection must be closed then.
  const std::string& error() const { return error_; }

  // Starts with the next request.
  void reset();

 private:
  struct Range {
    std::size_t offset, length;
  };
  enum class State { start, count, header, body };

  Status fail(std::string text);
  Status parse_inline(std::string_view input);
  // The text up to the next \r\n at position_, without moving; sets `found`.
  std::string_view line(std::string_view input, bool& found) const;

  State state_ = State::start;
  std::size_t position_ = 0;
  std::size_t wanted_ = 1;
  std::int64_t remaining_ = 0;  // arguments still to come
  std::size_t bulk_ = 0;        // length of the one being read
  std::vector<Range> ranges_;
  std::vector<std::string_view> views_;
  std::vector<std::string> inline_words_;
  std::string error_;
};

// Splits a line into words as Redis does: blanks separate; "..." knows \n \r \t \b \a \xHH and escapes; '...' knows \'.
// False when quotes are not balanced.
bool split_words(std::string_view line, std::vector<std::string>& words);

// A whole number written the one canonical way: no blanks, no plus, no leading zeros. False when it is not or does not
// fit.
bool parse_integer(std::string_view text, std::int64_t& value);

}  // namespace kvd
