// SPDX-License-Identifier: BSD-2-Clause
#include "profile/reconciliation.h"

#include <cmath>
#include <cstddef>

namespace fiberprof {
namespace {

constexpr const char *kSeen = "waits_seen", *kError = "waits_seen_std_error", *kLost = "waits_lost",
                     *kFiltered = "waits_filtered", *kOpen = "waits_open_of_program", *kProgram = "waits_begun",
                     *kUncertain = "waits_at_the_edges";

// All of them, as sums are to be checked: 12,345.
std::string digits(uint64_t number) {
  std::string text = std::to_string(number);
  for (auto at = static_cast<ptrdiff_t>(text.size()) - 3; at > 0; at -= 3) text.insert(static_cast<size_t>(at), ",");
  return text;
}

}  // namespace

bool Reconciliation::holds() const {
  return std::abs(static_cast<double>(difference())) <= static_cast<double>(uncertain) + 4 * std_error;
}

void add_counters(const Reconciliation& reconciliation, std::map<std::string, uint64_t>& counters) {
  counters[kSeen] = reconciliation.seen;
  counters[kError] = static_cast<uint64_t>(std::ceil(reconciliation.std_error));
  counters[kLost] = reconciliation.lost;
  counters[kFiltered] = reconciliation.filtered;
  counters[kOpen] = reconciliation.open;
  counters[kProgram] = reconciliation.program;
  counters[kUncertain] = reconciliation.uncertain;
}

std::optional<Reconciliation> reconciliation_of(const std::map<std::string, uint64_t>& counters) {
  const auto get = [&](const char* key) {
    const auto found = counters.find(key);
    return found == counters.end() ? uint64_t{0} : found->second;
  };
  if (!counters.count(kProgram) || !counters.count(kSeen)) return std::nullopt;
  return Reconciliation{.seen = get(kSeen),
                        .std_error = static_cast<double>(get(kError)),
                        .lost = get(kLost),
                        .filtered = get(kFiltered),
                        .open = get(kOpen),
                        .program = get(kProgram),
                        .uncertain = get(kUncertain)};
}

std::string to_text(const Reconciliation& r) {
  std::string text = "waits: " + digits(r.seen);
  if (r.std_error > 0) text += " ± " + digits(static_cast<uint64_t>(r.std_error));
  text += r.std_error > 0 ? " estimated + " : " seen + ";
  text += digits(r.lost) + " lost + ";
  if (r.filtered) text += digits(r.filtered) + " filtered out + ";
  text += digits(r.open) + " open = " + digits(r.accounted()) + " of the program's " + digits(r.program);
  if (r.uncertain) text += " (" + digits(r.uncertain) + " of them at the edges of the recording)";
  if (!r.holds()) text += ": THEY DO NOT ADD UP";
  return text;
}

}  // namespace fiberprof
