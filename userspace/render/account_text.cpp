// SPDX-License-Identifier: BSD-2-Clause
#include "render/account_text.h"

#include <algorithm>

#include "render/stack_view.h"
#include "render/table.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kMaxParts = 3;

std::string share(uint64_t part, uint64_t whole) { return part == 0 ? "" : format_share(part, whole); }

std::vector<std::string> cells(const std::string& name, const AccountRow& row, uint64_t all) {
  const uint64_t total = row.total();
  return {format_duration(total),       format_share(total, all),
          share(row.running_ns, total), share(row.queued_ns, total),
          share(row.parked(), total),   share(row.preempted_ns, total),
          share(row.kernel(), total),   name};
}

}  // namespace

std::vector<std::pair<std::string, uint64_t>> largest_parts(const AccountRow& row) {
  std::vector<std::pair<std::string, uint64_t>> parts(row.parked_ns.begin(), row.parked_ns.end());
  parts.insert(parts.end(), row.kernel_ns.begin(), row.kernel_ns.end());
  const uint64_t least = row.total() / 200;
  std::erase_if(parts, [&](const auto& part) { return part.second <= least; });
  std::stable_sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  if (parts.size() > kMaxParts) parts.resize(kMaxParts);
  return parts;
}

std::vector<std::string> account_text(const Account& account, size_t rows, const Style& style, size_t columns) {
  if (account.empty()) return {};
  const uint64_t all = account.total.total();
  std::string title = style.bold("TIME") + "  ";
  if (account.lived_ns != 0) {
    title += format_duration(account.lived_ns) + " lived by fibers, " + format_share(all, account.lived_ns) +
             " of it accounted for";
  } else {
    title += format_duration(all) + " of fibers";
  }
  bool several = false;
  for (const AccountRow& row : account.rows) several |= row.pid != account.rows.front().pid;
  Table table(
      {{"total"}, {"%"}, {"running"}, {"queued"}, {"parked"}, {"preempted"}, {"kernel"}, {"fiber", Align::left}});
  const size_t shown = rows == 0 ? account.rows.size() : std::min(rows, account.rows.size());
  for (size_t i = 0; i < shown; ++i) {
    const AccountRow& row = account.rows[i];
    std::string name =
        row.site.empty() ? "(unknown)" : fit_end(display_name(row.site), columns > 94 ? columns - 62 : 32);
    if (several) name += "  " + sanitize(row.process) + " (" + std::to_string(row.pid) + ")";
    table.add(cells(name, row, all));
  }
  if (account.rows.size() > 1) table.add(cells("all", account.total, all));
  std::vector<std::string> lines = {title, style.dim("  " + table.header())};
  for (size_t i = 0; i < table.rows(); ++i) {
    const bool sum = i >= shown;
    if (sum && shown < account.rows.size()) {
      lines.push_back(style.dim("  … " + std::to_string(account.rows.size() - shown) + " more; -n 0 shows all"));
    }
    lines.push_back("  " + table.row(i));
    const AccountRow& row = sum ? account.total : account.rows[i];
    std::string parts;
    for (const auto& [name, ns] : largest_parts(row)) {
      parts += (parts.empty() ? "" : "   ") + style.reason(name, sanitize(name)) + " " + format_share(ns, row.total());
    }
    if (!parts.empty()) lines.push_back("           " + parts);
  }
  return lines;
}

}  // namespace fiberprof
