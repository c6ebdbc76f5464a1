// SPDX-License-Identifier: BSD-2-Clause
#include "render/table.h"

#include <algorithm>

#include "support/text.h"

namespace fiberprof {

std::string pad(const std::string& text, size_t columns, Align align) {
  const size_t width = display_width(text);
  if (width >= columns) return text;
  const std::string blanks(columns - width, ' ');
  return align == Align::left ? text + blanks : blanks + text;
}

void Table::add(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::vector<size_t> Table::widths() const {
  std::vector<size_t> result;
  for (size_t c = 0; c < columns_.size(); ++c) {
    size_t width = display_width(columns_[c].title);
    for (const auto& cells : rows_) width = std::max(width, display_width(cells[c]));
    result.push_back(width);
  }
  return result;
}

std::string Table::line(const std::vector<std::string>& cells) const {
  const std::vector<size_t> width = widths();
  std::string text;
  for (size_t c = 0; c < cells.size(); ++c) {
    if (c != 0) text += "  ";
    text += pad(cells[c], width[c], columns_[c].align);
  }
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::string Table::header() const {
  std::vector<std::string> titles;
  for (const Column& column : columns_) titles.push_back(column.title);
  return line(titles);
}

std::string Table::row(size_t index) const { return line(rows_[index]); }

}  // namespace fiberprof
