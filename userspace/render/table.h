// SPDX-License-Identifier: BSD-2-Clause
// Aligned columns of sanitized text.
#pragma once

#include <string>
#include <vector>

namespace fiberprof {

enum class Align { left, right };

struct Column {
  std::string title;
  Align align = Align::right;
};

// Lays cells out under their titles, two spaces apart, each column as wide as its widest cell. Trailing blanks are
// cut. `widths` come out so that lines between the rows can be aligned with them.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add(std::vector<std::string> cells);
  std::string header() const;
  std::string row(size_t index) const;
  size_t rows() const { return rows_.size(); }

 private:
  std::string line(const std::vector<std::string>& cells) const;
  std::vector<size_t> widths() const;
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

// `text` padded with blanks to `columns` (never cut).
std::string pad(const std::string& text, size_t columns, Align align = Align::left);

}  // namespace fiberprof
