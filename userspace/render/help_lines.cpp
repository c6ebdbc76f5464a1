// SPDX-License-Identifier: BSD-2-Clause
#include "render/help_lines.h"

#include "render/table.h"
#include "support/text.h"

namespace fiberprof {

std::vector<Line> help_lines(std::span<const HelpEntry> entries, size_t columns, size_t rows) {
  std::vector<Line> lines;
  for (const HelpEntry& entry : entries) {
    if (lines.size() == rows) break;
    Line each;
    const bool heading = *entry.right == '\0';
    each.spans.push_back({heading ? entry.left : pad(entry.left, 12), heading ? Role::heading : Role::bold, ""});
    if (!heading) each.spans.push_back({fit(entry.right, columns > 14 ? columns - 14 : 1), Role::normal, ""});
    lines.push_back(std::move(each));
  }
  return lines;
}

}  // namespace fiberprof
