// SPDX-License-Identifier: BSD-2-Clause
#include "render/account.h"

#include <algorithm>

#include "render/aggregate.h"

namespace fiberprof {
namespace {

uint64_t sum(const std::map<std::string, uint64_t>& parts) {
  uint64_t total = 0;
  for (const auto& [name, ns] : parts) total += ns;
  return total;
}

}  // namespace

uint64_t AccountRow::parked() const { return sum(parked_ns); }
uint64_t AccountRow::kernel() const { return sum(kernel_ns); }

void AccountRow::add(const AccountRow& other) {
  running_ns += other.running_ns;
  queued_ns += other.queued_ns;
  preempted_ns += other.preempted_ns;
  for (const auto& [reason, ns] : other.parked_ns) parked_ns[reason] += ns;
  for (const auto& [cause, ns] : other.kernel_ns) kernel_ns[cause] += ns;
}

AccountRow& AccountBuilder::row(uint32_t pid, const std::string& process, const std::string& site) {
  AccountRow& row = rows_[{pid, site}];
  row.pid = pid;
  row.process = process;
  row.site = site;
  return row;
}

Account AccountBuilder::take(uint64_t lived_ns) {
  Account account;
  account.lived_ns = lived_ns;
  for (auto& [key, row] : rows_) {
    if (row.total() == 0) continue;
    account.total.add(row);
    account.rows.push_back(std::move(row));
  }
  rows_.clear();
  std::stable_sort(account.rows.begin(), account.rows.end(),
                   [](const AccountRow& a, const AccountRow& b) { return a.total() > b.total(); });
  return account;
}

Account account_of(const Profile& profile) {
  AccountBuilder builder;
  for (const Sample& sample : profile.samples) {
    if (sample.kind == SampleKind::idle || is_scheduler(sample)) continue;
    AccountRow& row = builder.row(sample.pid, sample.process, fiber_of(profile, sample));
    switch (sample.kind) {
      case SampleKind::blocked:
      case SampleKind::open:
        row.parked_ns[sample.reason] += sample.total_ns - std::min(sample.queued_ns, sample.total_ns);
        break;
      case SampleKind::off_cpu:
        if (sample.reason == "preempted") {
          row.preempted_ns += sample.total_ns;
        } else {
          // Woken, but without a CPU yet, is no longer waiting for what it had waited for.
          const uint64_t runnable = std::min(sample.queued_ns, sample.total_ns);
          row.preempted_ns += runnable;
          row.kernel_ns[sample.reason] += sample.total_ns - runnable;
        }
        break;
      case SampleKind::on_cpu:
        row.running_ns += sample.total_ns;
        break;
      case SampleKind::idle:
        break;
    }
  }
  for (const QueuedSite& queued : profile.queued)
    builder.row(queued.pid, queued.process, queued.site).queued_ns += queued.total_ns;
  const auto lived = profile.counters.find("fiber_us");
  return builder.take(lived == profile.counters.end() ? 0 : lived->second * 1000);
}

}  // namespace fiberprof
