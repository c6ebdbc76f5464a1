// SPDX-License-Identifier: BSD-2-Clause
#include "support/text.h"

#include <cstdio>

namespace fiberprof {
namespace {

constexpr char32_t kInvalid = 0xFFFFFFFF;

// One code point at text[at], advancing `at`. Well-formedness as in table 3-7 of the Unicode standard; an ill-formed
// sequence yields kInvalid and advances past its first byte only, so no later byte hides behind it.
char32_t decode(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(at++);
  if (first < 0x80) return first;
  size_t more;
  char32_t code;
  unsigned char low = 0x80, high = 0xBF;
  if (first >= 0xC2 && first <= 0xDF) {
    more = 1;
    code = first & 0x1FU;
  } else if (first >= 0xE0 && first <= 0xEF) {
    more = 2;
    code = first & 0x0FU;
    if (first == 0xE0) low = 0xA0;   // shorter form exists
    if (first == 0xED) high = 0x9F;  // surrogates
  } else if (first >= 0xF0 && first <= 0xF4) {
    more = 3;
    code = first & 0x07U;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;  // above U+10FFFF
  } else {
    return kInvalid;
  }
  if (text.size() - at < more) return kInvalid;
  for (size_t i = 0; i < more; ++i) {
    const unsigned char next = byte(at + i);
    if (next < low || next > high) return kInvalid;
    low = 0x80;
    high = 0xBF;
    code = (code << 6) | (next & 0x3FU);
  }
  at += more;
  return code;
}

struct Range {
  char32_t first, last;
};

template <size_t N>
bool in(const Range (&ranges)[N], char32_t code) {
  for (const Range& range : ranges)
    if (code >= range.first && code <= range.last) return true;
  return false;
}

// Controls, bidirectional controls, and characters without a shape of their own that could hide differences.
constexpr Range kRemoved[] = {
    {0x00, 0x1F},     {0x7F, 0x9F},     {0xAD, 0xAD},     {0x61C, 0x61C},   {0x115F, 0x1160},
    {0x180E, 0x180E}, {0x200B, 0x200F}, {0x2028, 0x202E}, {0x2060, 0x206F}, {0x3164, 0x3164},
    {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}, {0xFFF0, 0xFFFB}, {0xFFFE, 0xFFFF}, {0xE0000, 0xE0FFF},
};
constexpr Range kCombining[] = {
    {0x300, 0x36F},   {0x483, 0x489},   {0x591, 0x5BD},   {0x610, 0x61A},   {0x64B, 0x65F},
    {0x1AB0, 0x1AFF}, {0x1DC0, 0x1DFF}, {0x20D0, 0x20FF}, {0xFE20, 0xFE2F},
};
constexpr Range kWide[] = {
    {0x1100, 0x115F}, {0x2E80, 0x303E}, {0x3041, 0xA4CF},   {0xAC00, 0xD7A3},   {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},
    {0xFF00, 0xFF60}, {0xFFE0, 0xFFE6}, {0x1F300, 0x1F64F}, {0x1F900, 0x1F9FF}, {0x20000, 0x3FFFD},
};

// `at` is just behind an ESC: returns where the sequence it begins ends (ECMA-48). A string sequence without its
// terminator ends at once, so that it cannot swallow the rest of the name.
size_t skip_escape(std::string_view text, size_t at) {
  if (at >= text.size()) return at;
  const char kind = text[at];
  if (kind == '[') {
    for (size_t i = at + 1; i < text.size(); ++i) {
      const auto c = static_cast<unsigned char>(text[i]);
      if (c >= 0x40 && c <= 0x7E) return i + 1;
      if (c < 0x20 || c > 0x3F) return i;
    }
    return text.size();
  }
  if (kind == ']' || kind == 'P' || kind == 'X' || kind == '^' || kind == '_') {
    for (size_t i = at + 1; i < text.size(); ++i) {
      if (text[i] == '\a') return i + 1;
      if (text[i] == '\x1b') return i + 1 < text.size() && text[i + 1] == '\\' ? i + 2 : i;
    }
    return at + 1;
  }
  size_t i = at;
  while (i < text.size() && text[i] >= 0x20 && text[i] <= 0x2F) ++i;
  return i < text.size() && text[i] >= 0x30 && text[i] <= 0x7E ? i + 1 : i;
}

size_t width_of(char32_t code) { return in(kCombining, code) ? 0 : in(kWide, code) ? 2 : 1; }

}  // namespace

std::string sanitize(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t start = at;
    const char32_t code = decode(text, at);
    if (code == kInvalid) {
      out += "\uFFFD";
    } else if (code == 0x1B) {
      at = skip_escape(text, at);
    } else if (code == '\t' || code == '\n' || code == '\r' || code == 0x85 || code == 0x2028 || code == 0x2029) {
      out += ' ';
    } else if (!in(kRemoved, code)) {
      out.append(text, start, at - start);
    }
  }
  return out;
}

std::string xml_escape(std::string_view text) {
  const std::string clean = sanitize(text);
  std::string out;
  out.reserve(clean.size() + 16);
  for (const char c : clean) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

size_t display_width(std::string_view text) {
  size_t width = 0;
  for (size_t at = 0; at < text.size();) width += width_of(decode(text, at));
  return width;
}

std::string fit(std::string_view text, size_t columns) {
  std::string clean = sanitize(text);
  if (columns == 0) return {};
  size_t width = 0, keep = 0;  // keep: bytes that leave one column for the mark
  for (size_t at = 0; at < clean.size();) {
    width += width_of(decode(clean, at));
    if (width <= columns - 1) keep = at;
  }
  if (width <= columns) return clean;
  clean.resize(keep);
  return clean + "…";
}

std::string fit_end(std::string_view text, size_t columns) {
  std::string clean = sanitize(text);
  if (columns == 0) return {};
  size_t width = display_width(clean);
  if (width <= columns) return clean;
  size_t at = 0;
  while (width > columns - 1) width -= width_of(decode(clean, at));
  return "…" + clean.substr(at);
}

std::string format_count(uint64_t count) {
  char buffer[32];
  if (count < 1000) {
    std::snprintf(buffer, sizeof buffer, "%u", static_cast<unsigned>(count));
    return buffer;
  }
  double value = static_cast<double>(count) / 1e3;
  const char* suffix = "kMGTPE";
  while (value >= 999.5 && suffix[1] != 0) {
    value /= 1000;
    ++suffix;
  }
  std::snprintf(buffer, sizeof buffer, "%.*f%c", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, *suffix);
  return buffer;
}

}  // namespace fiberprof
