// SPDX-License-Identifier: BSD-2-Clause
#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "profile/queue_json.h"
#include "profile/reconciliation.h"
#include "render/account_json.h"
#include "render/frame_json.h"
#include "render/report.h"
#include "render/stack_view.h"
#include "render/waker_view.h"
#include "support/text.h"

namespace fiberprof {
namespace {

using nlohmann::ordered_json;

// Zero in exact recordings.
void add_errors(ordered_json& out, double variance_ns2, double count_variance) {
  out["total_std_error_ns"] = static_cast<uint64_t>(std::sqrt(variance_ns2));
  out["count_std_error"] = static_cast<uint64_t>(std::sqrt(count_variance));
}

// What held up the end of some waits, from the wake-up on.
ordered_json cause_json(const Profile& profile, const RowCause& cause, bool all_frames) {
  ordered_json steps = ordered_json::array();
  for (const Cause& step : profile.chains[cause.chain]) {
    ordered_json out = {{"kind", cause_name(step.kind)}};
    if (!step.text.empty()) out["text"] = sanitize(step.text);
    ordered_json& stack = out["stack"] = ordered_json::array();
    for (const uint32_t index : shown_frames(profile, step.frames, all_frames))
      stack.push_back(frame_json(profile.frames[index]));
    steps.push_back(std::move(out));
  }
  return {{"total_ns", cause.total_ns},
          {"count", cause.count},
          {"text", cause_line(profile, profile.chains[cause.chain])},
          {"steps", std::move(steps)}};
}

ordered_json section_json(const Profile& profile, const Section& section, const ReportOptions& options, bool waited) {
  ordered_json rows = ordered_json::array();
  for (const Row& row : section.rows) {
    if (options.rows != 0 && rows.size() == options.rows) break;
    ordered_json out = {{"total_ns", row.total_ns}, {"count", row.count}};
    if (waited) {
      out["open_count"] = row.open;
      out["open_ns"] = row.open_ns;
      out["queued_ns"] = row.queued_ns;
      add_errors(out, row.variance_ns2, row.count_variance);
    }
    if (row.max_ns != 0) {  // samples of the CPU clock have no length
      out["mean_ns"] = row.mean_ns();
      out["max_ns"] = row.max_ns;
    }
    if (std::any_of(row.histogram.begin(), row.histogram.end(), [](uint64_t count) { return count != 0; })) {
      out["p50_ns"] = percentile(row.histogram, 0.5, row.max_ns);
      out["p99_ns"] = percentile(row.histogram, 0.99, row.max_ns);
      out["histogram_log2_ns"] = row.histogram;
    }
    if (!row.reason.empty()) out["reason"] = sanitize(row.reason);
    if (!row.name.empty()) out[options.by == GroupBy::waker ? "waker" : "fiber"] = sanitize(row.name);
    if (row.pid != 0) out["pid"] = row.pid;
    if (row.pid != 0 || options.by == GroupBy::process) out["process"] = sanitize(row.process);
    if (options.by == GroupBy::stack) {
      ordered_json& stack = out["stack"] = ordered_json::array();
      for (const uint32_t index : row.frames) stack.push_back(frame_json(profile.frames[index]));
    }
    if (options.by == GroupBy::waker) {
      ordered_json& causes = out["causes"] = ordered_json::array();
      for (const RowCause& cause : row.causes) causes.push_back(cause_json(profile, cause, options.all_frames));
    }
    rows.push_back(std::move(out));
  }
  ordered_json out = {{"total_ns", section.totals.total_ns}, {"count", section.totals.count}};
  if (waited) {
    out["open_count"] = section.totals.open;
    out["open_ns"] = section.totals.open_ns;
    out["queued_ns"] = section.totals.queued_ns;
    add_errors(out, section.totals.variance_ns2, section.totals.count_variance);
  }
  out["row_count"] = section.rows.size();
  out["rows"] = std::move(rows);
  return out;
}

}  // namespace

std::string report_json(const Profile& profile, const ReportOptions& options) {
  ordered_json out = {{"target", sanitize(profile.target)}, {"host", sanitize(profile.host)},
                      {"kernel", sanitize(profile.kernel)}, {"command", sanitize(profile.command)},
                      {"tier", sanitize(profile.tier)},     {"start_unix_ns", profile.start_unix_ns},
                      {"duration_ns", profile.duration_ns}};
  out["account"] = account_json(account_of(profile));
  out["blocked"] = section_json(profile, waits(profile, options.by, options.all_frames), options, true);
  out["off_cpu"] = section_json(profile, off_cpu(profile, options.by, options.all_frames), options, false);
  out["on_cpu"] = section_json(profile, on_cpu(profile, options.by, options.all_frames), options, false);
  out["idle"] = section_json(profile, idle(profile, options.by, options.all_frames), options, false);
  out["queues"] = queues_json<ordered_json>(profile.queues);
  out["queue_delays"] = delays_json<ordered_json>(profile.delays);
  ordered_json& workers = out["workers"] = ordered_json::array();
  for (const WorkerStats& worker : profile.workers) {
    workers.push_back({{"pid", worker.pid},
                       {"on_cpu_ns", worker.on_cpu_ns},
                       {"off_cpu_ns", worker.off_cpu_ns},
                       {"runnable_ns", worker.runnable_ns},
                       {"runnable_p50_ns", percentile(worker.runnable, 0.5, worker.max_runnable_ns)},
                       {"runnable_p99_ns", percentile(worker.runnable, 0.99, worker.max_runnable_ns)},
                       {"runnable_max_ns", worker.max_runnable_ns},
                       {"samples", worker.samples},
                       {"fiber_samples", worker.fiber_samples},
                       {"runnable_histogram_log2_ns", worker.runnable}});
  }
  const auto counts = [](const std::map<std::string, uint64_t>& source) {
    ordered_json object = ordered_json::object();
    for (const auto& [name, value] : source) object[sanitize(name)] = value;
    return object;
  };
  out["losses"] = counts(profile.losses);
  out["counters"] = counts(profile.counters);
  if (const auto sums = reconciliation_of(profile.counters))
    out["reconciliation"] = {{"seen", sums->seen},
                             {"seen_std_error", sums->std_error},
                             {"lost", sums->lost},
                             {"filtered", sums->filtered},
                             {"open", sums->open},
                             {"program", sums->program},
                             {"at_the_edges", sums->uncertain},
                             {"difference", sums->difference()},
                             {"holds", sums->holds()}};
  return out.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace fiberprof
