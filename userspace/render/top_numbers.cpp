// SPDX-License-Identifier: BSD-2-Clause
#include "render/top_numbers.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {

uint64_t per_second(uint64_t amount, uint64_t interval_ns) {
  if (interval_ns == 0) return 0;
  return static_cast<uint64_t>(static_cast<double>(amount) * 1e9 / static_cast<double>(interval_ns));
}

std::string rate(uint64_t count, uint64_t interval_ns) {
  if (interval_ns == 0) return "0";
  const double value = static_cast<double>(count) * 1e9 / static_cast<double>(interval_ns);
  if (value == 0 || value >= 100) return format_count(static_cast<uint64_t>(std::lround(value)));
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%.1f" : "%.0f", value);
  return text;
}

std::string depth(double value) {
  char text[32];
  if (value >= 1000) return format_count(static_cast<uint64_t>(value));
  std::snprintf(text, sizeof text, value < 10 ? "%.1f" : "%.0f", value);
  return text;
}

std::string number(uint64_t value) { return value < 10'000 ? std::to_string(value) : format_count(value); }

// The scale goes up with the deepest of them, but a depth below one stays low: an almost empty queue must not look like
// a mountain.
std::string ago(uint64_t ns) {
  constexpr uint64_t kSecond = 1'000'000'000, kMinute = 60 * kSecond;
  const bool seconds = ns >= kSecond && ns < kMinute;
  return (seconds ? std::to_string((ns + kSecond / 2) / kSecond) + "s" : format_duration(ns)) + " ago";
}

std::string history_bar(const std::vector<double>& history, size_t columns) {
  static constexpr const char* kBlocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  if (columns == 0) return {};
  const size_t each = (history.size() + columns - 1) / columns;
  std::vector<double> means;  // newest first, so that a column that is not full yet is the oldest
  for (size_t end = history.size(); end != 0; end -= std::min(each, end)) {
    const size_t begin = end - std::min(each, end);
    double sum = 0;
    for (size_t i = begin; i < end; ++i) sum += history[i];
    means.push_back(sum / static_cast<double>(end - begin));
  }
  double top = 8;
  for (const double mean : means) top = std::max(top, mean);
  std::string text(columns - means.size(), ' ');
  for (auto mean = means.rbegin(); mean != means.rend(); ++mean)
    text += kBlocks[std::min<size_t>(static_cast<size_t>(*mean / top * 7.999), 7)];
  return text;
}

}  // namespace fiberprof
