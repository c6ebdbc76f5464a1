// SPDX-License-Identifier: BSD-2-Clause
// One colour per wait reason, the same in the live screen, in reports and in pictures.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace fiberprof {

struct Colour {
  uint8_t red = 0, green = 0, blue = 0;
};

// Related reasons have related colours: channels teal to blue, locks red to orange, sockets green, sleep grey; what is
// a bug whenever it is seen (nil channel, empty select) magenta. Reasons not in the table get a colour from a hash of
// their name, always the same.
Colour reason_colour(std::string_view reason);

// The nearest of the 256 terminal colours (16 to 255).
uint8_t terminal_colour(Colour colour);

// `share` (0 to 1) of `colour`, the rest `other`.
Colour blend(Colour colour, Colour other, double share);

std::string hex(Colour colour);  // "#4fb3a5"

// Text style for people's terminals; every function returns the text unchanged without colour.
class Style {
 public:
  explicit Style(bool colour) : colour_(colour) {}
  std::string bold(std::string_view text) const { return wrap("1", text); }
  std::string dim(std::string_view text) const { return wrap("2", text); }
  std::string warning(std::string_view text) const { return wrap("1;33", text); }
  std::string reason(std::string_view reason, std::string_view text) const;
  bool colour() const { return colour_; }

 private:
  std::string wrap(std::string_view code, std::string_view text) const;
  bool colour_;
};

}  // namespace fiberprof
