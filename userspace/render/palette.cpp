// SPDX-License-Identifier: BSD-2-Clause
#include "render/palette.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

namespace fiberprof {
namespace {

struct Named {
  std::string_view reason;
  Colour colour;
};

// All light enough for dark text (contrast with #1d2430 above 4.5) and dark enough to stand out on white.
constexpr std::array kNamed = {
    Named{"chan receive", {0x4f, 0xb8, 0xac}}, Named{"chan send", {0x5a, 0xa9, 0xd6}},
    Named{"select", {0x8f, 0xa8, 0xe8}},       Named{"mutex", {0xee, 0x7f, 0x66}},
    Named{"rwlock read", {0xf4, 0xae, 0x84}},  Named{"rwlock write", {0xe5, 0x8a, 0x52}},
    Named{"condition", {0xe8, 0xb0, 0x4a}},    Named{"wait group", {0xd9, 0xc0, 0x5b}},
    Named{"once", {0xc9, 0xb0, 0x8a}},         Named{"semaphore", {0xe0, 0x98, 0xbb}},
    Named{"barrier", {0xd4, 0xa6, 0xd8}},      Named{"join", {0xb0, 0x98, 0xdc}},
    Named{"sleep", {0xb4, 0xbc, 0xc8}},        Named{"io read", {0x7c, 0xc0, 0x78}},
    Named{"io write", {0xa8, 0xcc, 0x5e}},     Named{"io accept", {0xb2, 0xda, 0xa2}},
    Named{"io connect", {0x86, 0xc8, 0xa4}},   Named{"context", {0x9c, 0xb8, 0xc4}},
    Named{"nil channel", {0xf0, 0x6c, 0xa8}},  Named{"empty select", {0xf0, 0x6c, 0xa8}},
    Named{"other", {0xc8, 0xc4, 0xbc}},        Named{"preempted", {0xe8, 0x9c, 0x9c}},
    Named{"futex wait", {0xd8, 0x8c, 0xa0}},   Named{"page fault", {0xdc, 0xa0, 0x70}},
    Named{"disk", {0xc4, 0x9c, 0x80}},         Named{"queued", {0xf2, 0xc1, 0x8c}},
};

uint64_t hash(std::string_view text) {  // FNV-1a, 64 bits
  uint64_t value = 14695981039346656037U;
  for (const char c : text) value = (value ^ static_cast<uint8_t>(c)) * 1099511628211U;
  return value;
}

uint8_t channel(double value) { return static_cast<uint8_t>(std::lround(std::clamp(value, 0.0, 255.0))); }

}  // namespace

Colour reason_colour(std::string_view reason) {
  for (const Named& named : kNamed) {
    if (named.reason == reason) return named.colour;
  }
  // A pastel of any hue: cosines a third of a turn apart.
  const double turn = 2 * 3.14159265358979 * static_cast<double>(hash(reason) % 360) / 360;
  const auto wave = [&](double shift) { return channel(178 + 42 * std::cos(turn + shift)); };
  return {wave(0), wave(2.0944), wave(4.1888)};
}

uint8_t terminal_colour(Colour colour) {
  static constexpr std::array<int, 6> kLevels = {0, 95, 135, 175, 215, 255};
  const auto nearest = [](uint8_t value) {
    size_t best = 0;
    for (size_t i = 1; i < kLevels.size(); ++i) {
      if (std::abs(kLevels[i] - value) < std::abs(kLevels[best] - value)) best = i;
    }
    return best;
  };
  return static_cast<uint8_t>(16 + 36 * nearest(colour.red) + 6 * nearest(colour.green) + nearest(colour.blue));
}

Colour blend(Colour colour, Colour other, double share) {
  const auto mix = [share](uint8_t a, uint8_t b) { return channel(a * share + b * (1 - share)); };
  return {mix(colour.red, other.red), mix(colour.green, other.green), mix(colour.blue, other.blue)};
}

std::string hex(Colour colour) {
  char text[8];
  std::snprintf(text, sizeof text, "#%02x%02x%02x", colour.red, colour.green, colour.blue);
  return text;
}

std::string Style::reason(std::string_view reason, std::string_view text) const {
  return wrap("38;5;" + std::to_string(terminal_colour(reason_colour(reason))), text);
}

std::string Style::wrap(std::string_view code, std::string_view text) const {
  if (!colour_ || text.empty()) return std::string(text);
  return "\x1b[" + std::string(code) + "m" + std::string(text) + "\x1b[0m";
}

}  // namespace fiberprof
