// SPDX-License-Identifier: BSD-2-Clause
#include "render/top_time.h"

#include <algorithm>
#include <cstdio>

#include "render/account_text.h"
#include "render/stack_view.h"
#include "render/table.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kNameColumns = 36;

// Time of fibers within an interval as a number of fibers.
std::string fibers(uint64_t ns, uint64_t interval_ns) {
  if (interval_ns == 0) return "0";
  const double value = static_cast<double>(ns) / static_cast<double>(interval_ns);
  if (value >= 10'000) return format_count(static_cast<uint64_t>(value));
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%.2f" : value < 100 ? "%.1f" : "%.0f", value);
  return text;
}

}  // namespace

std::vector<Line> time_lines(const TopModel& model, size_t rows) {
  const Account& account = model.account;
  if (account.empty() || rows == 0) return {};
  const AccountRow& all = account.total;
  const uint64_t total = all.total();
  Line head;
  head.spans = {{"TIME", Role::heading, ""}, {"  of ", Role::dim, ""}};
  head.spans.push_back({fibers(total, model.account_ns), Role::bold, ""});
  head.spans.push_back({" fibers", Role::dim, ""});
  const auto part = [&](const char* name, uint64_t ns) {
    head.spans.push_back({std::string("   ") + name + " ", Role::dim, ""});
    head.spans.push_back({ns == 0 ? "0%" : format_share(ns, total), ns == 0 ? Role::dim : Role::bold, ""});
  };
  part("running", all.running_ns);
  part("queued", all.queued_ns);
  part("parked", all.parked());
  part("preempted", all.preempted_ns);
  part("kernel", all.kernel());
  std::vector<Line> lines = {std::move(head)};
  if (account.rows.size() < 2 && largest_parts(all).size() < 2) return lines;

  Line titles;
  for (const char* title : {"fibers", "running", "queued", "parked", "preempt", "kernel"})
    titles.spans.push_back({pad(title, 8, Align::right), Role::dim, ""});
  titles.spans.push_back({"  spawned as", Role::dim, ""});
  lines.push_back(std::move(titles));
  const size_t shown = std::min(rows, account.rows.size());
  for (size_t i = 0; i < shown; ++i) {
    const AccountRow& row = account.rows[i];
    Line line;
    line.spans.push_back({pad(fibers(row.total(), model.account_ns), 8, Align::right), Role::bold, ""});
    for (const uint64_t ns : {row.running_ns, row.queued_ns, row.parked(), row.preempted_ns, row.kernel()}) {
      const bool much = ns * 5 >= row.total();
      line.spans.push_back(
          {pad(ns == 0 ? "" : format_share(ns, row.total()), 8, Align::right), much ? Role::normal : Role::dim, ""});
    }
    line.spans.push_back(
        {"  " + (row.site.empty() ? std::string("(unknown)") : fit_end(display_name(row.site), kNameColumns)),
         Role::normal, ""});
    for (const auto& [name, ns] : largest_parts(row)) {
      line.spans.push_back({"  " + sanitize(name), Role::reason, name});
      line.spans.push_back({" " + format_share(ns, row.total()), Role::dim, ""});
    }
    lines.push_back(std::move(line));
  }
  if (shown < account.rows.size()) {
    Line more;
    more.spans.push_back({"       … " + std::to_string(account.rows.size() - shown) + " more", Role::dim, ""});
    lines.push_back(std::move(more));
  }
  return lines;
}

}  // namespace fiberprof
