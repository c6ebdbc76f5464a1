// SPDX-License-Identifier: BSD-2-Clause
#include "request.h"

#include <cctype>
#include <charconv>
#include <cstring>

namespace kvd {

namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

char unescape(char c) {
  switch (c) {
    case 'n':
      return '\n';
    case 'r':
      return '\r';
    case 't':
      return '\t';
    case 'b':
      return '\b';
    case 'a':
      return '\a';
    default:
      return c;
  }
}

// Reads a quoted word whose opening quote is at `at`; leaves `at` behind the closing one.
bool read_quoted(std::string_view line, std::size_t& at, std::string& word) {
  const char quote = line[at++];
  for (; at < line.size(); ++at) {
    const char c = line[at];
    if (c == quote) {
      ++at;
      return at == line.size() || is_blank(line[at]);  // a closing quote ends its word
    }
    if (c != '\\' || at + 1 >= line.size()) {
      word.push_back(c);
    } else if (quote == '\'') {
      if (line[at + 1] == '\'') ++at;
      word.push_back(line[at]);
    } else if (line[at + 1] == 'x' && at + 3 < line.size() && hex_digit(line[at + 2]) >= 0 &&
               hex_digit(line[at + 3]) >= 0) {
      word.push_back(static_cast<char>(hex_digit(line[at + 2]) * 16 + hex_digit(line[at + 3])));
      at += 3;
    } else {
      word.push_back(unescape(line[++at]));
    }
  }
  return false;
}

}  // namespace

bool split_words(std::string_view line, std::vector<std::string>& words) {
  words.clear();
  std::size_t at = 0;
  while (true) {
    while (at < line.size() && is_blank(line[at])) ++at;
    if (at == line.size()) return true;
    std::string word;
    while (at < line.size() && !is_blank(line[at])) {
      if (line[at] == '"' || line[at] == '\'') {
        if (!read_quoted(line, at, word)) return false;
      } else {
        word.push_back(line[at++]);
      }
    }
    words.push_back(std::move(word));
  }
}

bool parse_integer(std::string_view text, std::int64_t& value) {
  const std::string_view digits = text.starts_with('-') ? text.substr(1) : text;
  if (digits.empty() || (digits[0] == '0' && text.size() > 1)) return false;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  return status == std::errc{} && end == text.data() + text.size();
}

void RequestParser::reset() {
  state_ = State::start;
  position_ = 0;
  wanted_ = 1;
  constexpr std::size_t kKeep = 1024;  // room for more is given back: one MSET must not hold it for ever
  if (ranges_.capacity() > kKeep) ranges_ = {};
  if (views_.capacity() > kKeep) views_ = {};
  ranges_.clear();
  views_.clear();
}

RequestParser::Status RequestParser::fail(std::string text) {
  error_ = "ERR Protocol error: " + std::move(text);
  return Status::error;
}

std::string_view RequestParser::line(std::string_view input, bool& found) const {
  const std::string_view rest = input.substr(position_);
  const void* end = std::memchr(rest.data(), '\r', rest.size());
  const std::size_t length =
      end == nullptr ? rest.size() : static_cast<std::size_t>(static_cast<const char*>(end) - rest.data());
  found = length + 2 <= rest.size();
  return rest.substr(0, length);
}

RequestParser::Status RequestParser::parse_inline(std::string_view input) {
  const void* end = std::memchr(input.data(), '\n', input.size());
  if (end == nullptr) {
    if (input.size() > kMaxLine) return fail("too big inline request");
    wanted_ = input.size() + 1;
    return Status::incomplete;
  }
  std::size_t length = static_cast<std::size_t>(static_cast<const char*>(end) - input.data());
  position_ = length + 1;
  if (length > 0 && input[length - 1] == '\r') --length;
  if (!split_words(input.substr(0, length), inline_words_)) return fail("unbalanced quotes in request");
  views_.assign(inline_words_.begin(), inline_words_.end());
  return Status::complete;
}

RequestParser::Status RequestParser::parse(std::string_view input) {
  if (state_ == State::start) {
    if (input.empty()) return Status::incomplete;
    if (input[0] != '*') return parse_inline(input);
    state_ = State::count;
  }
  bool found = false;
  if (state_ == State::count) {
    const std::string_view text = line(input, found);
    if (!found) {
      if (input.size() > kMaxLine) return fail("too big mbulk count string");
      wanted_ = input.size() + 1;
      return Status::incomplete;
    }
    if (!parse_integer(text.substr(1), remaining_) || remaining_ > kMaxArguments)
      return fail("invalid multibulk length");
    position_ = text.size() + 2;
    state_ = State::header;
  }
  for (; remaining_ > 0; --remaining_) {
    if (state_ == State::header) {
      const std::string_view text = line(input, found);
      if (!found) {
        if (text.size() > kMaxLine) return fail("too big bulk count string");
        wanted_ = input.size() + 1;
        return Status::incomplete;
      }
      if (text.empty() || text[0] != '$') {
        return fail(std::string("expected '$', got '") + (text.empty() ? '\r' : text[0]) + "'");
      }
      std::int64_t length = 0;
      if (!parse_integer(text.substr(1), length) || length < 0 || length > static_cast<std::int64_t>(kMaxBulk)) {
        return fail("invalid bulk length");
      }
      position_ += text.size() + 2;
      bulk_ = static_cast<std::size_t>(length);
      if (position_ + bulk_ > kMaxRequest) return fail("too big request");
      state_ = State::body;
    }
    if (input.size() < position_ + bulk_ + 2) {
      wanted_ = position_ + bulk_ + 2;
      return Status::incomplete;
    }
    ranges_.push_back({position_, bulk_});
    position_ += bulk_ + 2;
    state_ = State::header;
  }
  views_.clear();
  for (const Range& range : ranges_) views_.push_back(input.substr(range.offset, range.length));
  return Status::complete;
}

}  // namespace kvd
