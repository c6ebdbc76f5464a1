// SPDX-License-Identifier: BSD-2-Clause
#include "glob.h"

#include <cctype>
#include <cstddef>
#include <utility>

namespace kvd {

namespace {

unsigned char fold(char c, Case sensitivity) {
  const auto byte = static_cast<unsigned char>(c);
  return sensitivity == Case::insensitive ? static_cast<unsigned char>(std::tolower(byte)) : byte;
}

// Matches one character against the pattern's element at `at` (never a star) and moves `at` behind that element.
bool match_one(std::string_view pattern, std::size_t& at, char c, Case sensitivity) {
  const unsigned char wanted = fold(c, sensitivity);
  switch (pattern[at]) {
    case '?':
      ++at;
      return true;
    case '[': {
      ++at;
      const bool negated = at < pattern.size() && pattern[at] == '^';
      if (negated) ++at;
      bool found = false;
      // A class that is not closed ends with the pattern.
      while (at < pattern.size() && pattern[at] != ']') {
        if (pattern[at] == '\\' && at + 1 < pattern.size()) {
          ++at;
          found |= fold(pattern[at], sensitivity) == wanted;
        } else if (at + 2 < pattern.size() && pattern[at + 1] == '-') {
          unsigned char low = fold(pattern[at], sensitivity), high = fold(pattern[at + 2], sensitivity);
          if (low > high) std::swap(low, high);
          found |= low <= wanted && wanted <= high;
          at += 2;
        } else {
          found |= fold(pattern[at], sensitivity) == wanted;
        }
        ++at;
      }
      if (at < pattern.size()) ++at;
      return found != negated;
    }
    case '\\':
      if (at + 1 < pattern.size()) ++at;
      [[fallthrough]];
    default:
      return fold(pattern[at++], sensitivity) == wanted;
  }
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view text, Case sensitivity) {
  // On a mismatch only the last star seen can help: it takes one character more. An earlier star never needs to.
  constexpr std::size_t kNone = static_cast<std::size_t>(-1);
  std::size_t p = 0, t = 0, star = kNone, star_text = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = ++p;
      star_text = t;
      continue;
    }
    if (p < pattern.size() && match_one(pattern, p, text[t], sensitivity)) {
      ++t;
    } else if (star != kNone) {
      p = star;
      t = ++star_text;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

}  // namespace kvd
