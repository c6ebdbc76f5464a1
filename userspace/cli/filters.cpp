// SPDX-License-Identifier: BSD-2-Clause
#include "cli/filters.h"

#include "cli/options.h"
#include "session/names.h"
#include "support/text.h"

namespace fiberprof {
namespace {

Result<uint32_t> reason_mask(const std::vector<std::string>& names) {
  if (names.empty()) return ~0u;
  uint32_t mask = 0;
  for (const auto& name : names) {
    const auto reason = reason_of(name);
    if (!reason)
      return fail("no wait reason '" + sanitize(name) + "'", {}, "see fiberprof record --help", ExitCode::usage);
    mask |= 1u << *reason;
  }
  return mask;
}

}  // namespace

void add_wait_filter(CLI::App& app, WaitFilter& filter) {
  add_duration(app, "--min", filter.min_wait_ns, "Leave out waits, and times off the CPU, shorter than this.");
  app.add_option("--reason", filter.reasons, "Only waits for this reason, for instance mutex or chan_recv. Repeatable.")
      ->option_text("REASON")
      ->allow_extra_args(false);
  app.add_option("--fiber", filter.fibers,
                 "Only fibers of this name; NAME* for names that begin so. Repeatable, up to 8.")
      ->option_text("NAME")
      ->allow_extra_args(false);
  app.add_option("--site", filter.sites,
                 "Only fibers spawned with this function, or with a lambda in it: kvd::Log::run, or Log::run. "
                 "Repeatable.")
      ->option_text("FUNCTION")
      ->allow_extra_args(false);
}

Result<void> apply(const WaitFilter& filter, SessionOptions& session) {
  const auto reasons = reason_mask(filter.reasons);
  if (!reasons) return tl::unexpected(reasons.error());
  session.reasons = *reasons;
  session.min_wait_ns = filter.min_wait_ns;
  session.fibers = {filter.fibers, filter.sites};
  return {};
}

}  // namespace fiberprof
