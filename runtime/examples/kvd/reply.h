// SPDX-License-Identifier: BSD-2-Clause
// Builds replies of the Redis protocol (RESP2) in a buffer.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace kvd {

class ReplyBuffer {
 public:
  void simple(std::string_view text) { line('+', text); }
  void ok() { bytes_ += "+OK\r\n"; }
  // `text` begins with its code ("ERR ..."). Line breaks in it would end the reply early: they become blanks.
  void error(std::string_view text) {
    const std::size_t start = bytes_.size();
    line('-', text);
    for (std::size_t i = start; i + 2 < bytes_.size(); ++i) {
      if (bytes_[i] == '\r' || bytes_[i] == '\n') bytes_[i] = ' ';
    }
  }
  void integer(std::int64_t value) { number(':', value); }
  void bulk(std::string_view value) {
    number('$', static_cast<std::int64_t>(value.size()));
    bytes_ += value;
    bytes_ += "\r\n";
  }
  void null() { bytes_ += "$-1\r\n"; }
  // That many replies must follow.
  void array(std::size_t length) { number('*', static_cast<std::int64_t>(length)); }

  std::string_view bytes() const { return bytes_; }
  std::size_t size() const { return bytes_.size(); }
  // Empties it; gives back memory that only an unusually large reply needed.
  void clear() {
    constexpr std::size_t kKeep = 64u << 10;
    bytes_.clear();
    if (bytes_.capacity() > kKeep) bytes_ = std::string();
  }

  // For an array whose length is known only at its end: everything from `mark` on becomes its elements.
  std::size_t mark() const { return bytes_.size(); }
  void array_from(std::size_t mark, std::size_t length) {
    char text[24];
    char* end = std::to_chars(text + 1, text + sizeof text - 2, length).ptr;
    text[0] = '*';
    *end++ = '\r';
    *end++ = '\n';
    bytes_.insert(mark, text, static_cast<std::size_t>(end - text));
  }

 private:
  void line(char type, std::string_view text) {
    bytes_ += type;
    bytes_ += text;
    bytes_ += "\r\n";
  }
  void number(char type, std::int64_t value) {
    char text[24];
    text[0] = type;
    char* end = std::to_chars(text + 1, text + sizeof text - 2, value).ptr;
    *end++ = '\r';
    *end++ = '\n';
    bytes_.append(text, static_cast<std::size_t>(end - text));
  }

  std::string bytes_;
};

}  // namespace kvd
