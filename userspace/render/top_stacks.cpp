// SPDX-License-Identifier: BSD-2-Clause
// The stacks that blocked within one interval of `top`, of the entries of two snapshots.
#include <algorithm>

#include "render/earlier.h"
#include "render/top_model.h"
#include "session/names.h"

namespace fiberprof {

void TopBuilder::add_stacks(TopModel& model, const Snapshot& from, const Symbolize& symbolize, Group group) const {
  struct Sum {
    uint64_t count = 0, total_ns = 0, queued_ns = 0, max_ns = 0;
    uint32_t changes = 0, next_change = 0;
  };
  std::vector<Sum> sums(rows_.size());  // by row
  std::vector<uint32_t> found;          // rows, in the order in which they were
  std::vector<std::pair<const BlockedEntry*, const BlockedEntry*>> changes;
  std::vector<uint32_t> row_of;  // of each change
  Earlier before(from.blocked, blocked_key);
  for (size_t place = 0; place < latest_->blocked.size(); ++place) {
    const BlockedEntry& entry = latest_->blocked[place];
    const BlockedEntry& last = before.of(entry);
    const uint64_t count = since(entry.count, last.count);
    if (count == 0) continue;
    uint32_t row = rows_.of(place, entry, shown_, latest_->stacks, symbolize);
    if (group == Group::reason) row = rows_.at(row).by_reason;
    if (row >= sums.size()) sums.resize(rows_.size());
    Sum& sum = sums[row];
    if (sum.changes == 0) found.push_back(row);
    const uint64_t queued = since(entry.queued_ns, last.queued_ns);
    const uint64_t total = since(entry.parked_ns, last.parked_ns) + queued;
    sum.count += count;
    sum.total_ns += total;
    sum.queued_ns += queued;
    sum.max_ns = std::max(sum.max_ns, entry.max_ns);
    ++sum.changes;
    changes.emplace_back(&entry, &last);
    row_of.push_back(row);
    model.waits += count;
    model.blocked_ns += total;
    model.queued_ns += queued;
  }
  std::vector<std::pair<uint64_t, uint32_t>> order;
  order.reserve(found.size());
  for (const uint32_t row : found) order.emplace_back(sums[row].total_ns, row);
  std::stable_sort(order.begin(), order.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  model.stacks.reserve(order.size());
  uint32_t first_change = 0;
  for (const auto& [total_ns, number] : order) {
    Sum& sum = sums[number];
    sum.next_change = first_change;
    const EntryRow& of = rows_.at(number);
    TopStack& row = model.stacks.emplace_back();
    row.key = of.key;
    row.reason = reason_name(of.reason);
    row.pid = of.pid;
    row.count = sum.count;
    row.total_ns = total_ns;
    row.queued_ns = sum.queued_ns;
    row.max_ns = sum.max_ns;
    row.shown = of.shown;
    row.first_change = first_change;
    row.changes = sum.changes;
    first_change += sum.changes;
  }
  model.changes.resize(changes.size());
  for (size_t i = 0; i < changes.size(); ++i) model.changes[sums[row_of[i]].next_change++] = changes[i];
}

std::vector<uint64_t> TopModel::histogram(const TopStack& stack) const {
  std::vector<uint64_t> sum(kHistogramBuckets);
  for (uint32_t change = 0; change < stack.changes; ++change) {
    const auto& [entry, last] = changes[stack.first_change + change];
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += since(entry->parked[i], last->parked[i]);
  }
  return sum;
}

}  // namespace fiberprof
