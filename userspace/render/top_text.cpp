// SPDX-License-Identifier: BSD-2-Clause
#include "render/top_text.h"

namespace fiberprof {

std::string top_text(const std::vector<Line>& lines, const Style& style) {
  std::string text;
  for (const Line& line : lines) {
    if (!style.colour()) {
      text += line.text() + "\n";
      continue;
    }
    for (const Span& span : line.spans) {
      switch (span.role) {
        case Role::normal:
          text += span.text;
          break;
        case Role::bold:
        case Role::heading:
          text += style.bold(span.text);
          break;
        case Role::dim:
        case Role::bar:
          text += style.dim(span.text);
          break;
        case Role::warning:
          text += style.warning(span.text);
          break;
        case Role::reason:
          text += style.reason(span.reason, span.text);
          break;
      }
    }
    text += "\n";
  }
  return text;
}

}  // namespace fiberprof
