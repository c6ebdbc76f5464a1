// SPDX-License-Identifier: BSD-2-Clause
#include "render/stack_view.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "support/text.h"
#include "symbol/demangle.h"

namespace fiberprof {
namespace {

constexpr std::array<std::string_view, 9> kLibraries = {
    "libc.so", "libc-2", "libm.so", "libpthread", "libstdc++.so", "libc++.so", "libgcc_s", "ld-linux", "ld-musl"};

}  // namespace

std::string display_name(std::string_view function) {
  if (function.starts_with('[') || function.find("+0x") != std::string_view::npos) return sanitize(function);
  std::string name = sanitize(short_name(function));
  constexpr std::string_view kCall = "}::operator()";  // of a lambda: "{lambda#1}" says it all
  if (name.ends_with(kCall)) name.erase(name.size() - kCall.size() + 1);
  return name;
}

bool is_library(std::string_view function, std::string_view binary, bool runtime) {
  if (runtime || function.starts_with("std::") || function.starts_with("__gnu_cxx::") || binary.starts_with('[')) {
    return true;
  }
  binary.remove_prefix(binary.rfind('/') + 1);  // npos + 1 is 0
  return std::any_of(kLibraries.begin(), kLibraries.end(),
                     [&](std::string_view name) { return binary.starts_with(name); });
}

size_t culprit(size_t count, const std::function<bool(size_t)>& is_library) {
  for (size_t i = 0; i < count; ++i) {
    if (!is_library(i)) return i;
  }
  return 0;
}

std::string short_location(const std::string& file, uint32_t line, bool directory) {
  if (file.empty()) return "";
  size_t cut = file.rfind('/');
  if (directory && cut != std::string::npos && cut != 0) cut = file.rfind('/', cut - 1);
  std::string text = cut == std::string::npos ? file : file.substr(cut + 1);
  if (line != 0) text += ":" + std::to_string(line);
  return text;
}

std::vector<std::string> stack_lines(const std::vector<FrameText>& frames, const Style& style, size_t indent,
                                     size_t columns) {
  size_t widest = 0;
  for (const FrameText& frame : frames) widest = std::max(widest, display_width(frame.function));
  const size_t room = columns > indent + 24 ? columns - indent : 24;
  std::vector<std::string> lines;
  for (const FrameText& frame : frames) {
    const size_t place_columns = frame.place.empty() ? 0 : display_width(frame.place) + 2;
    const size_t name_columns = std::min(widest, room > place_columns + 16 ? room - place_columns : size_t{16});
    const std::string function = fit(frame.function, name_columns);
    const size_t used = display_width(function);
    std::string text = std::string(indent, ' ') + (frame.culprit ? style.bold(function) : function);
    if (!frame.place.empty())
      text += std::string(name_columns > used ? name_columns - used : 0, ' ') + "  " + style.dim(frame.place);
    lines.push_back(std::move(text));
  }
  return lines;
}

uint64_t percentile(const std::vector<uint64_t>& histogram, double p, uint64_t max_ns) {
  double total = 0;
  for (const uint64_t count : histogram) total += static_cast<double>(count);
  if (total == 0) return 0;
  const double rank = p * total;
  double below = 0;
  for (size_t i = 0; i < histogram.size() && i < 64; ++i) {
    const double count = static_cast<double>(histogram[i]);
    if (count > 0 && below + count >= rank) {
      const double low = i == 0 ? 0 : std::ldexp(1.0, static_cast<int>(i));
      const double high = std::min(std::ldexp(1.0, static_cast<int>(i) + 1), static_cast<double>(max_ns));
      if (high <= low) return max_ns;
      return static_cast<uint64_t>(low + (high - low) * (rank - below) / count);
    }
    below += count;
  }
  return max_ns;
}

std::string sparkline(const std::vector<uint64_t>& values, size_t columns) {
  static constexpr std::array<const char*, 8> kBlocks = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  const auto used = [](uint64_t value) { return value != 0; };
  const auto first = std::find_if(values.begin(), values.end(), used);
  const auto last = std::find_if(values.rbegin(), std::make_reverse_iterator(first), used).base();
  std::string text;
  if (first >= last) return text;
  const uint64_t top = *std::max_element(first, last);
  for (auto value = first; value != last && columns != 0; ++value, --columns) {
    const double share = static_cast<double>(*value) / static_cast<double>(top);
    text += *value == 0 ? " " : kBlocks[static_cast<size_t>(std::lround(share * 7))];
  }
  return text;
}

std::string format_share(uint64_t part, uint64_t whole) {
  if (whole == 0) return "";
  const double percent = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  char text[16];
  if (part == 0) return "0%";
  if (percent < 0.1) return "<0.1%";
  std::snprintf(text, sizeof text, percent >= 99.95 ? "%.0f%%" : "%.1f%%", percent);
  return text;
}

}  // namespace fiberprof
