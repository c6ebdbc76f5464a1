// SPDX-License-Identifier: BSD-2-Clause
#include "render/dump_diff.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>

#include "render/frame_json.h"
#include "render/frame_text.h"
#include "support/duration.h"
#include "support/text.h"

namespace fiberprof {
namespace {

std::string side_text(const DiffSide& side) {
  std::string text = sanitize(side.path);
  if (!side.process.empty()) text += ", " + sanitize(side.process) + " (" + std::to_string(side.pid) + ")";
  if (const std::string taken = local_time(side.taken_unix_ns); !taken.empty()) text += ", " + taken;
  return text + ", " + std::to_string(side.fibers) + (side.fibers == 1 ? " fiber" : " fibers");
}

std::string percent_text(double percent) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f %%", percent == std::floor(percent) ? 0 : 1, percent);
  return text;
}

std::string change_text(const DiffGroup& group) {
  if (group.base == 0) return "new";
  if (group.now == 0) return "gone";
  const double share = 100 * (static_cast<double>(group.now) / static_cast<double>(group.base) - 1);
  return (share > 0 ? "grew by " : "shrank by ") +
         percent_text(std::abs(share) < 10 ? std::round(std::abs(share) * 10) / 10 : std::round(std::abs(share)));
}

std::string verdict(const DumpDiff& diff, const DiffLimits& limits) {
  const auto count = [&](auto wanted) { return std::to_string(std::ranges::count_if(diff.changed, wanted)); };
  std::string text = count([](const DiffGroup& group) { return group.base == 0; }) + " new, " +
                     count([](const DiffGroup& group) { return group.base != 0 && group.now > group.base; }) +
                     " grown, " +
                     count([](const DiffGroup& group) { return group.now != 0 && group.now < group.base; }) +
                     " shrunk, " + count([](const DiffGroup& group) { return group.now == 0; }) + " gone, " +
                     std::to_string(diff.same) + " unchanged";
  if (!limits.percent) return text;
  const std::string limit = "over the limit (new, or grown by more than " + percent_text(*limits.percent) + ")";
  return text + "; " + (diff.over == 0 ? "none " : std::to_string(diff.over) + " ") + limit;
}

}  // namespace

std::string diff_text(const DumpDiff& diff, const DiffLimits& limits, size_t rows, const Style& style, size_t columns) {
  std::string out =
      style.dim("base: " + side_text(diff.base)) + "\n" + style.dim("new:  " + side_text(diff.now)) + "\n";
  const size_t shown = rows == 0 ? diff.changed.size() : std::min(rows, diff.changed.size());
  for (size_t i = 0; i < shown; ++i) {
    const DiffGroup& group = diff.changed[i];
    const std::string reason = group.reason.empty() ? sanitize(group.state) : sanitize(group.reason);
    const std::string counts = std::to_string(group.base) + " → " + std::to_string(group.now);
    out += "\n" + (group.over ? style.warning(counts) : style.bold(counts)) + "  " + style.reason(reason, reason) +
           ", " + change_text(group);
    if (group.now != 0) out += ", the oldest for " + format_duration(group.oldest_ns);
    out += "\n";
    for (const std::string& line : stack_lines(frame_texts(group.stack), style, 8, columns)) out += line + "\n";
    std::string origin;
    if (group.site && !group.site->runtime) origin = "spawned in " + place_text(*group.site);
    if (!group.name.empty())
      origin += (origin.empty() ? "" : "; ") + std::string("named \"") + sanitize(group.name) + "\"";
    if (!origin.empty()) out += "        " + style.dim(origin) + "\n";
  }
  if (shown < diff.changed.size())
    out +=
        "\n" + style.dim("… " + std::to_string(diff.changed.size() - shown) + " more changed; -n 0 shows all") + "\n";
  return out + "\n" + verdict(diff, limits) + "\n";
}

std::string diff_json(const DumpDiff& diff, const DiffLimits& limits, size_t rows) {
  using nlohmann::ordered_json;
  const auto side = [](const DiffSide& about) {
    return ordered_json{
        {"file", sanitize(about.path)},         {"process", sanitize(about.process)}, {"pid", about.pid},
        {"taken_unix_ns", about.taken_unix_ns}, {"fibers_total", about.fibers},       {"complete", about.complete}};
  };
  ordered_json out = {{"base", side(diff.base)}, {"new", side(diff.now)}};
  out["fail_over_percent"] = limits.percent ? ordered_json(*limits.percent) : ordered_json(nullptr);
  out["over"] = diff.over;
  out["unchanged"] = diff.same;
  ordered_json& changed = out["changed"] = ordered_json::array();
  for (const DiffGroup& group : diff.changed) {
    if (rows != 0 && changed.size() == rows) break;
    ordered_json one = {
        {"base", group.base}, {"new", group.now}, {"over", group.over}, {"state", sanitize(group.state)}};
    if (!group.reason.empty()) one["reason"] = sanitize(group.reason);
    if (group.now != 0) one["oldest_ns"] = group.oldest_ns;
    if (!group.name.empty()) one["name"] = sanitize(group.name);
    one["spawned_at"] = group.site ? frame_json(*group.site) : ordered_json(nullptr);
    ordered_json& stack = one["stack"] = ordered_json::array();
    for (const Frame& frame : group.stack) stack.push_back(frame_json(frame));
    changed.push_back(std::move(one));
  }
  return out.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace fiberprof
