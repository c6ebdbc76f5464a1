// SPDX-License-Identifier: BSD-2-Clause
// Where the fibers' time went: running, queued for a processor, parked, or on a worker thread that the kernel had
// stopped. By the function fibers were spawned with; together it is all they lived.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "profile/profile.h"

namespace fiberprof {

struct AccountRow {
  uint32_t pid = 0;
  std::string process;
  std::string site;  // spawned function; empty: not known
  uint64_t running_ns = 0;
  uint64_t queued_ns = 0;                     // runnable, without a processor
  uint64_t preempted_ns = 0;                  // its worker was runnable, without a CPU
  std::map<std::string, uint64_t> parked_ns;  // by reason
  std::map<std::string, uint64_t> kernel_ns;  // its worker was blocked, by cause
  uint64_t parked() const;
  uint64_t kernel() const;
  uint64_t total() const { return running_ns + queued_ns + preempted_ns + parked() + kernel(); }
  void add(const AccountRow& other);
};

struct Account {
  std::vector<AccountRow> rows;  // longest first
  AccountRow total;              // of all rows
  uint64_t lived_ns = 0;         // what all fibers lived, as the runtimes count them; 0: not known
  bool empty() const { return rows.empty(); }
};

class AccountBuilder {
 public:
  // The row of these fibers; valid until take().
  AccountRow& row(uint32_t pid, const std::string& process, const std::string& site);
  Account take(uint64_t lived_ns);

 private:
  std::map<std::pair<uint32_t, std::string>, AccountRow> rows_;
};

Account account_of(const Profile& profile);

}  // namespace fiberprof
