// SPDX-License-Identifier: BSD-2-Clause
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "profile/losses.h"
#include "profile/reconciliation.h"
#include "render/account_text.h"
#include "render/frame_text.h"
#include "render/report.h"
#include "render/stack_view.h"
#include "render/table.h"
#include "render/waker_view.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kMaxNameColumns = 24;
constexpr size_t kMaxCauses = 3;        // of each waker
constexpr size_t kMaxOffCpuStacks = 4;  // preemption finds every function once in a while; the first ones tell

std::string plural(uint64_t count, const std::string& noun) {
  return format_count(count) + " " + noun + (count == 1 ? "" : "s");
}

// A fiber without a name goes by the function it was spawned with.
std::string fiber_name(const std::string& name) {
  return name.find("::") == std::string::npos ? sanitize(name) : display_name(name);
}

std::string waker_label(const std::string& name) {
  return name.starts_with("(not ") || name.starts_with("thread ") ? sanitize(name) : display_name(name);
}

class Report {
 public:
  Report(const Profile& profile, const ReportOptions& options, const Style& style, size_t columns)
      : profile_(profile), options_(options), style_(style), columns_(columns) {}

  std::string run() {
    head();
    account();
    const Section waited = waits(profile_, options_.by, options_.all_frames);
    const Section lost_cpu = off_cpu(profile_, options_.by, options_.all_frames);
    const Section ran = on_cpu(profile_, options_.by, options_.all_frames);
    const Section idled = idle(profile_, options_.by, options_.all_frames);
    if (options_.by != GroupBy::worker) wait_section(waited);
    off_cpu_section(lost_cpu);
    on_cpu_section(ran);
    idle_section(idled);
    workers();
    queues();
    losses();
    return std::move(out_);
  }

 private:
  void line(const std::string& text = "") { out_ += text + "\n"; }

  void head() {
    std::string text = profile_.target.empty() ? "recording" : sanitize(profile_.target);
    if (!profile_.host.empty()) text += " on " + sanitize(profile_.host);
    line(style_.bold(text));
    text = format_duration(profile_.duration_ns) + " recorded";
    if (!profile_.tier.empty()) text += ", " + sanitize(profile_.tier);
    if (const std::string start = local_time(profile_.start_unix_ns); !start.empty()) text += ", from " + start;
    if (!profile_.kernel.empty()) text += ", Linux " + sanitize(profile_.kernel);
    line(style_.dim(text));
  }

  void title(const std::string& name, const std::string& rest) {
    line();
    line(style_.bold(name) + "  " + rest);
  }

  void account() {
    const std::vector<std::string> lines = account_text(account_of(profile_), options_.rows, style_, columns_);
    if (!lines.empty()) line();
    for (const std::string& each : lines) line(each);
  }

  void wait_section(const Section& section) {
    const Totals& totals = section.totals;
    if (section.rows.empty()) {
      title("BLOCKED", "nothing: no wait of a fiber ended in this time");
      return;
    }
    std::string rest = format_duration(totals.total_ns) + " in " + plural(totals.count + totals.open, "wait");
    if (totals.queued_ns != 0) {
      rest += "; " + format_share(totals.queued_ns, totals.total_ns) + " of it runnable, waiting for a processor";
    }
    title("BLOCKED", rest);
    if (totals.open != 0) {
      line("         " + format_count(totals.open) + " of them had not ended: " + format_duration(totals.open_ns) +
           " so far");
    }
    rows(section, "waits", options_.rows);
  }

  void off_cpu_section(const Section& section) {
    if (section.rows.empty()) return;
    title("OFF CPU",
          format_duration(section.totals.total_ns) + ": the kernel took the worker thread with the fiber on it");
    rows(section, "times", options_.by == GroupBy::stack ? std::min(options_.rows, kMaxOffCpuStacks) : options_.rows);
  }

  void on_cpu_section(const Section& section) {
    if (section.rows.empty()) return;
    title("ON CPU", format_duration(section.totals.total_ns) + " in " + plural(section.totals.count, "sample") +
                        ": what worker threads ran");
    rows(section, "samples", options_.by == GroupBy::stack ? std::min(options_.rows, kMaxOffCpuStacks) : options_.rows);
  }

  void workers() {
    for (const WorkerStats& worker : profile_.workers) {
      const uint64_t all = worker.on_cpu_ns + worker.off_cpu_ns;
      if (all == 0) continue;
      const std::string whose = profile_.workers.size() > 1 ? "pid " + std::to_string(worker.pid) + ": " : "";
      title("WORKERS", whose + format_share(worker.on_cpu_ns, all) + " of their threads' time on a CPU, " +
                           format_share(worker.runnable_ns, all) + " waiting for one");
      const auto at = [&](double p) { return format_duration(percentile(worker.runnable, p, worker.max_runnable_ns)); };
      if (percentile(worker.runnable, 0.5, worker.max_runnable_ns) != 0) {
        line(style_.dim("         from wake-up or preemption to a CPU: p50 " + at(0.5) + ", p99 " + at(0.99) +
                        ", max " + format_duration(worker.max_runnable_ns)));
      }
    }
  }

  void idle_section(const Section& section) {
    if (section.rows.empty()) return;
    title("IDLE", format_duration(section.totals.total_ns) +
                      ": worker threads without a fiber slept. Healthy; in no sum above.");
    if (options_.by == GroupBy::worker) rows(section, "times", options_.rows);
  }

  std::string label(const Row& row) const {
    switch (options_.by) {
      case GroupBy::fiber: {
        const std::string process = row.process.empty() ? "pid " + std::to_string(row.pid) : sanitize(row.process);
        return (row.name.empty() ? "(no name)" : fit(fiber_name(row.name), kMaxNameColumns)) +
               (several_ ? "  " + process : "");
      }
      case GroupBy::process:
        return sanitize(row.process) + (row.pid == 0 ? " (several)" : " (" + std::to_string(row.pid) + ")");
      case GroupBy::waker:
        if (row.name.empty()) return sanitize(row.reason);  // off the CPU: nobody ended that
        return fit(waker_label(row.name), kMaxNameColumns + 16);
      default:
        return row.reason.empty() ? "(several)" : sanitize(row.reason);
    }
  }

  // Of a sampled total, when it matters: " ±7%".
  static std::string error_of(const Row& row) {
    const double error = row.total_ns == 0 ? 0 : std::sqrt(row.variance_ns2) / static_cast<double>(row.total_ns);
    char text[32] = "";
    if (error > 0.02) std::snprintf(text, sizeof text, " ±%.0f%%", std::min(error, 9.99) * 100);
    return text;
  }

  void rows(const Section& section, const std::string& unit, size_t most) {
    several_ = std::any_of(section.rows.begin(), section.rows.end(),
                           [&](const Row& row) { return row.pid != section.rows.front().pid; });
    const size_t shown = most == 0 ? section.rows.size() : std::min(most, section.rows.size());
    bool histograms = false;
    for (size_t i = 0; i < shown; ++i) histograms |= percentile(section.rows[i].histogram, 1, UINT64_MAX) != 0;
    // Samples divide up a time that is known; none has a length of its own.
    const bool lengths =
        std::any_of(section.rows.begin(), section.rows.end(), [](const Row& row) { return row.max_ns != 0; });
    std::vector<Column> titles = {{"total"}, {"%"}, {unit}};
    if (lengths) titles.insert(titles.end(), {{"mean"}, {"max"}});
    if (histograms) titles.insert(titles.end(), {{"p50"}, {"p99"}});
    titles.push_back({options_.by == GroupBy::process                                  ? "process"
                      : options_.by == GroupBy::fiber                                  ? "fiber"
                      : options_.by == GroupBy::waker && !section.rows[0].name.empty() ? "ended by"
                      : options_.by == GroupBy::worker                                 ? "cause"
                                                                                       : "reason",
                      Align::left});
    Table table(std::move(titles));
    for (size_t i = 0; i < shown; ++i) {
      const Row& row = section.rows[i];
      std::vector<std::string> cells = {format_duration(row.total_ns) + error_of(row),
                                        format_share(row.total_ns, section.totals.total_ns),
                                        format_count(row.count + row.open)};
      if (lengths) cells.insert(cells.end(), {format_duration(row.mean_ns()), format_duration(row.max_ns)});
      for (const double p : {0.5, 0.99}) {
        const uint64_t value = percentile(row.histogram, p, row.max_ns);
        if (histograms) cells.push_back(value == 0 ? "" : format_duration(value));
      }
      cells.push_back(label(row));
      table.add(std::move(cells));
    }
    line(style_.dim("  " + table.header()));
    for (size_t i = 0; i < shown; ++i) {
      const Row& row = section.rows[i];
      std::string text = table.row(i);
      if (options_.by == GroupBy::fiber) {
        line("  " + text);
        continue;
      }
      const std::string name = label(row);
      if (text.size() >= name.size()) text.erase(text.size() - name.size());
      line("  " + text + style_.reason(row.reason, name) + notes(row));
      if (options_.by == GroupBy::stack) stack(row);
      if (options_.by == GroupBy::waker) causes(row);
    }
    if (shown < section.rows.size()) {
      line(style_.dim("  … " + std::to_string(section.rows.size() - shown) + " more; -n 0 shows all"));
    }
  }

  // What had held the waker up, by its share of the row.
  void causes(const Row& row) {
    size_t shown = 0;
    for (const RowCause& cause : row.causes) {
      const std::string text = cause_line(profile_, profile_.chains[cause.chain]);
      if (text.empty()) continue;
      if (options_.rows != 0 && shown == kMaxCauses) break;
      ++shown;
      const std::string share = format_share(cause.total_ns, row.total_ns);
      line(std::string(8 + (share.size() < 6 ? 6 - share.size() : 0), ' ') + share + "  " +
           style_.dim(fit(text, columns_ > 60 ? columns_ - 17 : 43)));
    }
  }

  std::string notes(const Row& row) const {
    std::string text;
    if (options_.by == GroupBy::waker && !row.name.empty()) text += "  " + sanitize(row.reason);
    if (row.open != 0) text += ", " + format_count(row.open) + " not ended";
    if (row.total_ns != 0 && row.queued_ns * 20 >= row.total_ns && row.reason != "preempted") {  // below 5 %: noise
      text += ", " + format_share(row.queued_ns, row.total_ns) + " queued";
    }
    return text.empty() ? "" : style_.dim(text);
  }

  void stack(const Row& row) {
    // Where the fiber came from stands last, like the outermost frame.
    const size_t indent = 8;
    std::vector<FrameText> frames;
    for (size_t i = 0; i < row.frames.size(); ++i) {
      const ProfileFrame& frame = profile_.frames[row.frames[i]];
      frames.push_back(
          {display_name(frame.function), sanitize(short_location(frame.file, frame.line)), i == row.culprit});
    }
    for (const std::string& each : stack_lines(frames, style_, indent, columns_)) line(each);
    std::string origin;
    if (!row.name.empty()) origin = "fiber " + fit(fiber_name(row.name), columns_ / 2);
    if (several_) origin += (origin.empty() ? "" : ", ") + sanitize(row.process) + " (" + std::to_string(row.pid) + ")";
    if (!origin.empty()) line(std::string(indent, ' ') + style_.dim(origin));
  }

  void queues() {
    if (profile_.queues.empty()) return;
    title("QUEUES", "runnable fibers waiting, by processor");
    Table table({{"processor"}, {"mean"}, {"max"}, {"idle"}, {"depth 0, 1, 2-3, 4-7 …", Align::left}});
    bool several = false;
    for (const QueueStats& queue : profile_.queues) several |= queue.pid != profile_.queues.front().pid;
    for (const QueueStats& queue : profile_.queues) {
      char mean[32];
      std::snprintf(mean, sizeof mean, queue.mean_depth < 100 ? "%.1f" : "%.0f", queue.mean_depth);
      table.add({(several ? std::to_string(queue.pid) + "/" : "") + std::to_string(queue.processor), mean,
                 format_count(queue.max_depth), format_share(static_cast<uint64_t>(queue.idle_fraction * 1000), 1000),
                 depth_bars(queue)});
    }
    line(style_.dim("  " + table.header()));
    const size_t shown = options_.rows == 0 ? table.rows() : std::min<size_t>(table.rows(), 64);
    for (size_t i = 0; i < shown; ++i) line("  " + table.row(i));
    if (shown < table.rows()) line(style_.dim("  … " + std::to_string(table.rows() - shown) + " more"));
    for (const QueueDelays& delay : profile_.delays) {
      if (delay.count == 0) continue;
      line("  after a wait" + (several ? " (" + std::to_string(delay.pid) + ")" : std::string()) + ": p50 " +
           format_duration(delay.p50_ns) + ", p99 " + format_duration(delay.p99_ns) + ", p99.9 " +
           format_duration(delay.p999_ns));
    }
    rates();
  }

  // What the scheduler did, per second.
  void rates() {
    std::string text;
    for (const auto& [key, name] : {std::pair{"steals", "steals"}, std::pair{"handoffs", "handoffs"},
                                    std::pair{"worker_starts", "worker starts"}, std::pair{"overruns", "overruns"}}) {
      const auto found = profile_.counters.find(key);
      if (found == profile_.counters.end() || found->second == 0 || profile_.duration_ns == 0) continue;
      char number[32];
      std::snprintf(number, sizeof number, "%.3g",
                    static_cast<double>(found->second) * 1e9 / static_cast<double>(profile_.duration_ns));
      text += (text.empty() ? "" : ", ") + std::string(number) + " " + name + "/s";
    }
    if (!text.empty()) line("  " + text);
  }

  // The histogram begins at depth 0, so unlike a sparkline of durations it must not skip empty buckets in front.
  static std::string depth_bars(const QueueStats& queue) {
    std::vector<uint64_t> values = queue.histogram;
    if (values.empty() || *std::max_element(values.begin(), values.end()) == 0) return "";
    size_t skipped = 0;
    while (values[skipped] == 0) ++skipped;
    return std::string(skipped, ' ') + sparkline(values, 24);
  }

  void losses() {
    line();
    uint64_t lost = 0;
    std::string causes, remarks;
    for (const auto& [cause, events] : profile_.losses) {
      if (!is_lost(cause)) {
        remarks += (remarks.empty() ? "" : "; ") + sanitize(cause) + ": " + format_count(events);
        continue;
      }
      lost += events;
      causes += (causes.empty() ? "" : ", ") + sanitize(cause) + " " + format_count(events);
    }
    if (lost == 0) {
      line(style_.dim("No event was lost."));
    } else {
      line(style_.warning("LOST") + "  " + plural(lost, "event") + " could not be recorded (" + causes +
           "): the numbers above are too low by them");
    }
    if (const auto sums = reconciliation_of(profile_.counters))
      line(sums->holds() ? style_.dim(to_text(*sums)) : style_.warning(to_text(*sums)));
    if (!remarks.empty()) line(style_.dim("Recorded, but " + remarks + "."));
  }

  const Profile& profile_;
  const ReportOptions& options_;
  const Style& style_;
  size_t columns_;
  bool several_ = false;
  std::string out_;
};

}  // namespace

std::string report_text(const Profile& profile, const ReportOptions& options, const Style& style, size_t columns) {
  return Report(profile, options, style, columns).run();
}

}  // namespace fiberprof
