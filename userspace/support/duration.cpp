// SPDX-License-Identifier: BSD-2-Clause
#include "support/duration.h"

#include <array>
#include <cmath>
#include <cstdio>
#include <limits>

namespace fiberprof {
namespace {

struct Unit {
  std::string_view name;
  uint64_t ns;
};

constexpr std::array<Unit, 9> kUnits{{{"ns", 1},
                                      {"us", 1'000},
                                      {"\u00b5s", 1'000},  // micro sign
                                      {"\u03bcs", 1'000},  // Greek mu, what some keyboards give
                                      {"ms", 1'000'000},
                                      {"s", 1'000'000'000},
                                      {"m", 60'000'000'000},
                                      {"h", 3'600'000'000'000},
                                      {"d", 86'400'000'000'000}}};

tl::unexpected<Error> bad(std::string_view text, std::string why) {
  return fail("'" + std::string(text) + "' is not a duration", std::move(why), "write 500us, 10ms, 2s or 1m",
              ExitCode::usage);
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }

template <class... Args>
std::string print(const char* format, Args... args) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, format, args...);
  return buffer;
}

}  // namespace

Result<uint64_t> parse_duration(std::string_view text, uint64_t bare_unit_ns) {
  if (text == "0") return 0;
  if (text.empty()) return bad(text, "it is empty");
  using Wide = unsigned __int128;
  Wide total = 0;
  size_t at = 0;
  while (at < text.size()) {
    // value = digits / scale, exactly; 18 digits keep the product with the largest unit inside 128 bits
    Wide digits = 0, scale = 1;
    size_t seen = 0;
    bool point = false;
    for (; at < text.size() && (is_digit(text[at]) || (text[at] == '.' && !point)); ++at) {
      if (text[at] == '.') {
        point = true;
        continue;
      }
      if (++seen > 18) return bad(text, "too many digits");
      digits = digits * 10 + static_cast<Wide>(text[at] - '0');
      if (point) scale *= 10;
    }
    if (seen == 0) return bad(text, "a number was expected");
    const bool bare = at == text.size() && total == 0 && bare_unit_ns != 0;
    const size_t unit_start = at;
    while (at < text.size() && !is_digit(text[at]) && text[at] != '.') ++at;
    const std::string_view name = text.substr(unit_start, at - unit_start);
    if (name.empty() && !bare) return bad(text, "the unit is missing");
    const Unit bare_unit{"", bare_unit_ns};
    const Unit* unit = bare ? &bare_unit : nullptr;
    for (const Unit& candidate : kUnits)
      if (candidate.name == name) unit = &candidate;
    if (unit == nullptr) return bad(text, "unknown unit");
    total += digits * unit->ns / scale;
    if (total > std::numeric_limits<uint64_t>::max()) return bad(text, "it is too long");
  }
  return static_cast<uint64_t>(total);
}

std::string format_duration(uint64_t ns) {
  if (ns == 0) return "0";
  if (ns < 1000) return print("%uns", static_cast<unsigned>(ns));
  constexpr uint64_t kSecond = 1'000'000'000;
  if (ns < 100 * kSecond) {
    double value = static_cast<double>(ns) / 1e3;
    const char* const names[] = {"us", "ms", "s"};
    int unit = 0;
    // 999.5 would print as 1000
    while (value >= 999.5 && unit < 2) {
      value /= 1000;
      ++unit;
    }
    return print("%.*f%s", value < 9.995 ? 2 : value < 99.95 ? 1 : 0, value, names[unit]);
  }
  const uint64_t seconds = (ns / 2 + kSecond / 4) / (kSecond / 2);  // rounded; ns + kSecond / 2 could overflow
  const uint64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
  if (minutes < 100) return print("%um%02us", static_cast<unsigned>(minutes), static_cast<unsigned>(seconds % 60));
  if (hours < 100) return print("%uh%02um", static_cast<unsigned>(hours), static_cast<unsigned>(minutes % 60));
  if (days < 100) return print("%ud%02uh", static_cast<unsigned>(days), static_cast<unsigned>(hours % 24));
  return print("%ud", static_cast<unsigned>(days));
}

}  // namespace fiberprof
