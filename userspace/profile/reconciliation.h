// SPDX-License-Identifier: BSD-2-Clause
// Whether a recording's waits are all the program's waits: what was seen, what was lost and what is still open, against
// the numbers that the program itself keeps. Travels among a profile's counters.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

namespace fiberprof {

struct Reconciliation {
  uint64_t seen = 0;       // waits that ended, weighted; those that began before the recording not among them
  double std_error = 0;    // of `seen`; 0 in the exact tier
  uint64_t lost = 0;       // seen by the kernel side, with no room to record them
  uint64_t filtered = 0;   // not wanted: shorter than --min
  uint64_t open = 0;       // begun while recording and still in flight at its end
  uint64_t program = 0;    // waits begun while recording, by the program's own count
  uint64_t uncertain = 0;  // how many of those may have begun, or ended, in the moments of attaching and of reading

  uint64_t accounted() const { return seen + lost + filtered + open; }
  // Accounted for without a counterpart in the program (positive), or the reverse.
  int64_t difference() const { return static_cast<int64_t>(accounted() - program); }
  // The difference is no larger than the edges and, when sampled, four standard errors explain.
  bool holds() const;
};

void add_counters(const Reconciliation& reconciliation, std::map<std::string, uint64_t>& counters);
// Nothing when the recording has no program's own count.
std::optional<Reconciliation> reconciliation_of(const std::map<std::string, uint64_t>& counters);

// "waits: 12,345 seen + 0 lost + 17 open = 12,362 of the program's 12,362"
std::string to_text(const Reconciliation& reconciliation);

}  // namespace fiberprof
