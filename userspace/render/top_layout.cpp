// SPDX-License-Identifier: BSD-2-Clause
#include "render/top_layout.h"

#include <algorithm>
#include <numeric>

#include "profile/losses.h"
#include "render/stack_view.h"
#include "render/table.h"
#include "render/top_numbers.h"
#include "render/top_time.h"
#include "session/profile_builder.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kReasonColumns = 12;  // "chan receive"
constexpr size_t kMaxProcessorLines = 4;
constexpr size_t kMaxKernelLines = 4;

class Layout {
 public:
  Layout(const TopModel& model, TopView& view, size_t columns, size_t rows)
      : model_(model), view_(view), columns_(columns), rows_(rows) {}

  std::vector<Line> run() {
    head();
    fibers();
    account();
    processors();
    std::vector<Line> above = std::move(lines_);
    lines_.clear();
    kernel();
    deadlock();
    losses();
    std::vector<Line> below = std::move(lines_);
    lines_.clear();
    const size_t fixed = above.size() + below.size() + (view_.live ? 1 : 0);
    stacks(rows_ > fixed ? rows_ - fixed : 0);
    std::vector<Line> middle = std::move(lines_);
    lines_ = std::move(above);
    append(std::move(middle));
    append(std::move(below));
    space_out();
    if (view_.live) {
      lines_.resize(std::min(lines_.size(), rows_ - 1));
      while (lines_.size() + 1 < rows_) lines_.emplace_back();
      keys();
    }
    if (lines_.size() > rows_) lines_.resize(rows_);
    return std::move(lines_);
  }

 private:
  Line& line(std::vector<Span> spans = {}) {
    lines_.emplace_back();
    for (Span& span : spans) add(std::move(span));
    return lines_.back();
  }

  // Appends to the last line; what does not fit is cut.
  void add(Span span) {
    Line& last = lines_.back();
    const size_t used = last.width();
    if (used >= columns_) return;
    span.text = fit(span.text, columns_ - used);
    last.spans.push_back(std::move(span));
  }

  void append(std::vector<Line> more) {
    lines_.insert(lines_.end(), std::make_move_iterator(more.begin()), std::make_move_iterator(more.end()));
  }

  // Blank lines before the sections, as long as there is room: the lower ones first, where the eye needs them most.
  void space_out() {
    const size_t fixed = view_.live ? 1 : 0;
    for (size_t i = lines_.size(); i-- > 1;) {
      const std::vector<Span>& spans = lines_[i].spans;
      if (spans.empty() || spans.front().role != Role::heading) continue;
      if (lines_.size() + fixed >= rows_) return;
      lines_.emplace(lines_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }

  void head() {
    const std::string name = fit(sanitize(model_.process), 24) + " (" + std::to_string(model_.pid) + ")";
    line({{"fiberprof ", Role::dim}, {name, Role::bold}});
    const std::string covers = model_.since_start ? "since start, " + format_duration(model_.watched_ns)
                                                  : "last " + format_duration(model_.interval_ns) + " of " +
                                                        format_duration(model_.watched_ns);
    add({"   " + std::string(model_.exact ? "exact" : "sampled") + "   " + covers, Role::dim});
    if (view_.paused) add({"   PAUSED", Role::warning});
    if (model_.ended) add({"   the process has ended", Role::warning});
  }

  void fibers() {
    line({{"FIBERS", Role::heading}});
    if (!model_.fibers) {
      add({model_.fibers_awaited ? "  not counted yet" : "  no registry in this process: states are unknown",
           Role::dim});
      return;
    }
    const FiberCensus& census = *model_.fibers;
    const auto state = [&](uint64_t count, const char* name, Role role) {
      add({"   " + number(count), count == 0 ? Role::dim : role});
      add({std::string(" ") + name, Role::dim});
    };
    add({"  " + number(census.total()) + (census.complete ? "" : "+"), Role::bold});
    state(census.running, "running", Role::bold);
    state(census.runnable, "runnable", Role::bold);
    state(census.blocking, "blocking", Role::bold);
    state(census.parked, "parked", Role::bold);
    // Very many are not counted at every refresh.
    if (model_.fibers_age_ns != 0) add({"   " + ago(model_.fibers_age_ns), Role::dim});
    const std::string created = "   +" + rate(model_.fibers_created, model_.interval_ns) + "/s";
    if (model_.fibers_created != 0 && lines_.back().width() + created.size() <= columns_) add({created, Role::dim});
    if (census.parked_by.empty()) return;
    line({{"        ", Role::dim}});
    bool first = true;
    for (const ParkedFibers& parked : census.parked_by) {
      // "io read 980 up to 3m12s": the oldest is what finds a leak.
      const std::string count = number(parked.count);
      const std::string oldest = parked.oldest_ns >= 1'000'000'000 ? " up to " + format_duration(parked.oldest_ns) : "";
      const size_t needed = 3 + parked.reason.size() + 1 + count.size() + display_width(oldest);
      if (!first && lines_.back().width() + needed > columns_) {
        add({" …", Role::dim});
        break;
      }
      add({(first ? "" : "   ") + parked.reason, Role::reason, parked.reason});
      add({" " + count});
      add({oldest, Role::dim});
      first = false;
    }
  }

  void account() {
    // A small screen is for the stacks.
    const size_t rows = rows_ >= 40 ? 5 : rows_ >= 30 ? 3 : 1;
    for (Line& each : time_lines(model_, rows)) {
      line();
      for (Span& span : each.spans) add(std::move(span));
    }
  }

  void processors() {
    if (model_.processors.empty()) return;
    line({{"QUEUES", Role::heading}, {"  runnable fibers per processor", Role::dim}});
    if (model_.global_queue != 0) add({"   global " + number(model_.global_queue)});
    if (model_.delays.count != 0) {
      add({"   p50 " + format_duration(model_.delays.p50_ns) + " p99 " + format_duration(model_.delays.p99_ns) +
               " p99.9 " + format_duration(model_.delays.p999_ns),
           Role::dim});
    }
    if (model_.steals != 0) add({"   " + rate(model_.steals, model_.interval_ns) + " steals/s", Role::dim});
    const size_t cell = 38, across = std::clamp<size_t>(columns_ / cell, 1, model_.processors.size());
    const size_t bar = 8 + std::min<size_t>(columns_ / across - std::min(cell, columns_ / across), 52);
    // The deepest are the ones to look at when not all fit.
    std::vector<size_t> order(model_.processors.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const size_t room = across * kMaxProcessorLines;
    if (order.size() > room) {
      std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
        return model_.processors[a].mean_depth > model_.processors[b].mean_depth;
      });
      order.resize(room);
      add({"   the " + std::to_string(room) + " deepest of " + std::to_string(model_.processors.size()), Role::dim});
    }
    for (size_t i = 0; i < order.size(); ++i) {
      if (i % across == 0) line();
      const TopProcessor& each = model_.processors[order[i]];
      add({pad("P" + std::to_string(each.index), 4, Align::right) + " ", Role::dim});
      add({pad(each.state, 8), each.state == "running" ? Role::normal : Role::dim});
      add({" " + history_bar(each.history, bar), Role::bar});
      add({pad(depth(each.mean_depth), 6, Align::right), each.mean_depth >= 1 ? Role::bold : Role::normal});
      add({pad(format_share(static_cast<uint64_t>(each.idle * 1000), 1000), 6, Align::right) + " idle ", Role::dim});
    }
  }

  void stacks(size_t rows) {
    std::vector<size_t> order = shown_stacks(model_, view_);
    if (rows < 3) return;
    const size_t left_out = order.size() > view_.most_stacks ? order.size() - view_.most_stacks : 0;
    order.resize(order.size() - left_out);
    const uint64_t interval = model_.interval_ns;
    line({{"BLOCKED", Role::heading}});
    if (model_.stacks.empty()) {
      add({"  no wait of a fiber ended in this time", Role::dim});
      return;
    }
    add({"  " + format_duration(per_second(model_.blocked_ns, interval)) + "/s", Role::bold});
    add({" in ", Role::dim});
    add({rate(model_.waits, interval), Role::bold});
    add({" waits/s", Role::dim});
    if (model_.queued_ns * 20 >= model_.blocked_ns) {
      add({", " + format_share(model_.queued_ns, model_.blocked_ns) + " queued for a processor", Role::normal});
    }
    if (!view_.filter.empty() && !view_.searching) add({"   only \"" + sanitize(view_.filter) + "\"", Role::warning});
    const auto title = [&](const char* text, size_t width, TopSort sort, Align align = Align::right) {
      add({pad(text, width, align), view_.sort == sort ? Role::bold : Role::dim});
    };
    line();
    title("total/s", 8, TopSort::total);
    add({"      %", Role::dim});
    title("waits/s", 8, TopSort::count);
    add({"    mean", Role::dim});
    title("max", 8, TopSort::max);
    add({"  " + pad("reason", kReasonColumns), Role::dim});
    title("  where", 7, TopSort::name, Align::left);
    select(order);
    place(order, rows - 2);
    if (left_out != 0) line({{"          … " + std::to_string(left_out) + " more", Role::dim}});
  }

  void select(const std::vector<size_t>& order) {
    for (size_t i = 0; i < order.size() && view_.selected_key != 0; ++i) {
      if (model_.stacks[order[i]].key != view_.selected_key) continue;
      view_.selected = i;
      return;
    }
    view_.selected = order.empty() ? 0 : std::min(view_.selected, order.size() - 1);
  }

  // Rows with their expanded frames, scrolled so that the selected one is in sight.
  void place(const std::vector<size_t>& order, size_t room) {
    const auto lines_of = [&](size_t i) { return stack_lines(model_.stacks[order[i]], i); };
    if (order.empty()) return;
    view_.first = std::min({view_.first, view_.selected, order.size() - 1});
    size_t lowest = view_.selected;
    for (size_t used = lines_of(lowest).size(); lowest > view_.first; --lowest)
      if ((used += lines_of(lowest - 1).size()) > room) break;
    view_.first = std::max(view_.first, lowest);
    for (size_t i = view_.first; i < order.size() && room != 0; ++i) {
      for (Line& each : lines_of(i)) {
        if (room == 0) break;
        // Of a last row that does not fit, say how much is left instead.
        if (room == 1 && each.stack >= 0 && i + 1 < order.size() && !(view_.live && i == view_.selected)) {
          line({{"          … " + std::to_string(order.size() - i) + " more", Role::dim}});
          room = 0;
          break;
        }
        lines_.push_back(std::move(each));
        --room;
      }
    }
  }

  std::vector<Line> stack_lines(const TopStack& stack, size_t position) {
    std::vector<Line> outer = std::move(lines_);
    lines_.clear();
    const uint64_t interval = model_.interval_ns;
    line();
    lines_.back().stack = static_cast<int>(position);
    add({pad(format_duration(per_second(stack.total_ns, interval)), 8, Align::right), Role::bold});
    add({pad(format_share(stack.total_ns, model_.blocked_ns), 7, Align::right)});
    add({pad(rate(stack.count, interval), 8, Align::right)});
    add({pad(format_duration(stack.mean_ns()), 8, Align::right)});
    add({pad(format_duration(stack.max_ns), 8, Align::right)});
    add({"  " + pad(fit(stack.reason, kReasonColumns), kReasonColumns), Role::reason, stack.reason});
    add({"  " + where_of(stack)});
    if (view_.expanded.count(stack.key) != 0) frames(stack);
    std::vector<Line> result = std::move(lines_);
    lines_ = std::move(outer);
    return result;
  }

  void frames(const TopStack& stack) {
    const std::string indent(13, ' ');
    const std::vector<uint64_t> histogram = model_.histogram(stack);
    std::string facts = "p50 " + format_duration(percentile(histogram, 0.5, stack.max_ns)) + "   p99 " +
                        format_duration(percentile(histogram, 0.99, stack.max_ns));
    if (stack.queued_ns != 0) facts += "   queued " + format_share(stack.queued_ns, stack.total_ns);
    const std::string shape = sparkline(histogram, 24);
    line({{indent + facts + "   ", Role::dim}, {shape, Role::bar}});
    for (size_t i = 0; i < stack.shown->frames.size(); ++i) {
      const Frame& frame = *stack.shown->frames[i];
      const std::string place = sanitize(short_location(frame.file, frame.line));
      const size_t room =
          columns_ > indent.size() + place.size() + 2 ? columns_ - indent.size() - place.size() - 2 : 16;
      line({{indent + fit(display_name(frame.function), room), i == stack.shown->culprit ? Role::bold : Role::normal},
            {place.empty() ? "" : "  " + place, Role::dim}});
    }
    if (stack.shown->frames.empty()) line({{indent + "(no stack was taken)", Role::dim}});
  }

  void kernel() {
    const uint64_t interval = model_.interval_ns;
    line({{"KERNEL", Role::heading}});
    if (model_.kernel.empty()) {
      add({"  no worker thread was taken off its CPU", Role::dim});
    } else {
      add({"  worker threads taken off their CPU", Role::dim});
    }
    if (model_.idle_ns != 0) {
      add({"; idle " + format_duration(per_second(model_.idle_ns, interval)) + "/s", Role::dim});
    }
    const TopWorkers& workers = model_.workers;
    if (workers.on_cpu_ns != 0) {
      add({"; on CPU " + format_duration(per_second(workers.on_cpu_ns, interval)) + "/s", Role::dim});
      if (workers.samples != 0)
        add({", " + format_share(workers.fiber_samples, workers.samples) + " of it fibers", Role::dim});
    }
    if (percentile(workers.runnable, 0.5, workers.max_runnable_ns) != 0) {
      const auto at = [&](double p) {
        return format_duration(percentile(workers.runnable, p, workers.max_runnable_ns));
      };
      line({{"  from wake-up to a CPU p50 " + at(0.5) + "   p99 " + at(0.99) + "   max " +
                 format_duration(workers.max_runnable_ns),
             Role::dim}});
    }
    size_t shown = 0;
    for (const TopKernelWait& wait : model_.kernel) {
      if (shown++ == kMaxKernelLines) break;
      line();
      add({pad(format_duration(per_second(wait.total_ns, interval)), 8, Align::right), Role::bold});
      add({pad(rate(wait.count, interval), 15, Align::right)});
      add({pad(format_duration(wait.count == 0 ? 0 : wait.total_ns / wait.count), 8, Align::right)});
      add({pad(format_duration(wait.max_ns), 8, Align::right)});
      add({"  " + pad(fit(wait.cause, kReasonColumns), kReasonColumns), Role::reason, wait.cause});
      add({"  " + display_name(wait.function), wait.on_fiber ? Role::normal : Role::dim});
    }
    std::string counted;
    const auto count = [&](uint64_t amount, const char* name) {
      if (amount != 0) counted += (counted.empty() ? "" : "   ") + rate(amount, interval) + " " + name + "/s";
    };
    count(model_.handoffs, "handoffs");
    count(model_.overruns, "overruns (>10 ms without a switch)");
    count(model_.worker_starts, "new workers");
    if (!counted.empty()) line({{"  " + counted, Role::dim}});
  }

  void deadlock() {
    const TopDeadlock& found = model_.deadlock;
    if (found.fibers == 0) return;
    std::string text = "  " + format_count(found.fibers) + (found.fibers == 1 ? " fiber" : " fibers") +
                       " will never run again: " + sanitize(found.largest);
    if (found.causes > 1) text += ", and " + format_count(found.causes - 1) + " more";
    line({{"DEADLOCK", Role::warning},
          {text, Role::normal},
          {"   see fiberprof deadlock " + std::to_string(model_.pid), Role::dim}});
  }

  void losses() {
    if (model_.losses.total() == 0) return;
    std::string causes;
    for (const auto& [cause, events] : named_losses(model_.losses)) {
      if (!is_lost(cause)) continue;
      causes += (causes.empty() ? "" : ", ") + cause + " " + format_count(events);
    }
    line({{"LOST", Role::warning},
          {"  " + format_count(model_.losses.total()) + " events not recorded (" + causes + ")", Role::normal}});
  }

  void keys() {
    if (view_.searching) {
      line({{"search: ", Role::heading},
            {sanitize(view_.filter) + "▏", Role::bold},
            {"   Enter keeps, Esc clears", Role::dim}});
      return;
    }
    line();
    const auto key = [&](const char* name, const char* meaning) {
      if (!lines_.back().spans.empty()) add({"  "});
      add({name, Role::bold});
      add({std::string(" ") + meaning, Role::dim});
    };
    key("h", "help");
    key("↑↓ Enter", "stack");
    key("/", "search");
    key("s", "sort");
    key("F5", view_.group == TopBuilder::Group::stack ? "reasons" : "stacks");
    key("c", model_.since_start ? "interval" : "totals");
    key("p", view_.paused ? "resume" : "pause");
    key("q", "quit");
  }

  const TopModel& model_;
  TopView& view_;
  size_t columns_, rows_;
  std::vector<Line> lines_;
};

}  // namespace

std::vector<Line> top_layout(const TopModel& model, TopView& view, size_t columns, size_t rows) {
  return Layout(model, view, columns, rows).run();
}

}  // namespace fiberprof
