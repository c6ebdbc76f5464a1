// SPDX-License-Identifier: BSD-2-Clause
#include "render/flame_tree.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "render/aggregate.h"
#include "render/stack_view.h"
#include "render/waker_view.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kMaxDepth = 512;  // deeper stacks are cut: nobody reads them, and drawing recurses

struct Building {
  std::string place;
  FlameRole role{};
  uint64_t total_ns = 0, count = 0, max_ns = 0;
  std::map<std::string, uint64_t> reasons;
  std::map<std::string, std::unique_ptr<Building>> children;

  void add(const Sample& sample, const std::string& reason) {
    total_ns += sample.total_ns;
    count += sample.count;
    max_ns = std::max(max_ns, sample.max_ns);
    reasons[reason] += sample.total_ns;
  }
};

bool wanted(FlameKind kind, const Sample& sample) {
  if (kind == FlameKind::cpu || sample.kind == SampleKind::on_cpu)
    return kind == FlameKind::cpu && sample.kind == SampleKind::on_cpu && sample.total_ns != 0;
  const bool waited = sample.kind == SampleKind::blocked || sample.kind == SampleKind::open;
  const bool taken = sample.kind == SampleKind::off_cpu;
  return sample.total_ns != 0 && ((waited && kind != FlameKind::off_cpu) || (taken && kind != FlameKind::blocked));
}

struct Step {
  std::string name, place, reason;
  FlameRole role{};
};

FlameRole role_of(ChainStep::Kind kind) {
  switch (kind) {
    case ChainStep::Kind::separator:
      return FlameRole::separator;
    case ChainStep::Kind::waker:
      return FlameRole::waker;
    case ChainStep::Kind::wait:
      return FlameRole::function;
    case ChainStep::Kind::reason:
      return FlameRole::reason;
  }
  return FlameRole::function;
}

// Outermost first: the process when there are several, then functions and what was waited for, then its cause.
std::vector<Step> steps(const Profile& profile, const Sample& sample, const FlameOptions& options, bool several) {
  std::vector<Step> result;
  if (several)
    result.push_back(
        {sample.process + " (" + std::to_string(sample.pid) + ")", "", sample.reason, FlameRole::function});
  const std::vector<uint32_t> frames = shown_frames(profile, sample, options.all_frames);
  for (auto index = frames.rbegin(); index != frames.rend() && result.size() < kMaxDepth; ++index) {
    const ProfileFrame& frame = profile.frames[*index];
    result.push_back({frame.function, short_location(frame.file, frame.line), sample.reason, FlameRole::function});
  }
  result.push_back({"[" + sample.reason + "]", "", sample.reason, FlameRole::reason});
  const Chain* chain = options.wakers ? chain_of(profile, sample) : nullptr;
  if (chain == nullptr) return result;
  for (ChainStep& step : chain_steps(profile, *chain, options.all_frames)) {
    if (result.size() >= kMaxDepth) break;
    result.push_back({std::move(step.name), std::move(step.place), std::move(step.reason), role_of(step.kind)});
  }
  return result;
}

bool several_processes(const Profile& profile, FlameKind kind) {
  const Sample* first = nullptr;
  for (const Sample& sample : profile.samples) {
    if (!wanted(kind, sample)) continue;
    if (first == nullptr) first = &sample;
    if (sample.pid != first->pid) return true;
  }
  return false;
}

// The smallest total a node may have so that at most `max_nodes` remain.
uint64_t threshold(const Building& root, size_t max_nodes, size_t& nodes) {
  std::vector<uint64_t> totals;
  std::vector<const Building*> rest = {&root};
  while (!rest.empty()) {
    const Building* node = rest.back();
    rest.pop_back();
    totals.push_back(node->total_ns);
    for (const auto& [name, child] : node->children) rest.push_back(child.get());
  }
  nodes = totals.size();
  if (totals.size() <= max_nodes) return 0;
  std::nth_element(totals.begin(), totals.begin() + static_cast<std::ptrdiff_t>(max_nodes), totals.end(),
                   std::greater<>());
  return totals[max_nodes] + 1;
}

void flatten(const std::string& name, const Building& node, uint32_t depth, uint64_t start, uint64_t least,
             FlameTree& tree) {
  FlameNode out;
  out.name = name;
  out.place = node.place;
  out.role = node.role;
  out.depth = depth;
  out.start_ns = start;
  out.total_ns = node.total_ns;
  out.count = node.count;
  out.max_ns = node.max_ns;
  uint64_t most = 0;
  for (const auto& [reason, total] : node.reasons) {
    if (total > most) {
      most = total;
      out.reason = reason;
    }
  }
  out.purity = node.total_ns == 0 ? 0 : static_cast<double>(most) / static_cast<double>(node.total_ns);
  tree.nodes.push_back(std::move(out));
  tree.depth = std::max(tree.depth, depth);
  for (const auto& [child_name, child] : node.children) {
    if (child->total_ns >= least) flatten(child_name, *child, depth + 1, start, least, tree);
    start += child->total_ns;
  }
}

}  // namespace

FlameTree flame_tree(const Profile& profile, const FlameOptions& options) {
  Building root;
  std::map<std::string, uint64_t> reasons;  // all that occur
  const bool several = several_processes(profile, options.kind);
  for (const Sample& sample : profile.samples) {
    if (!wanted(options.kind, sample)) continue;
    Building* node = &root;
    node->add(sample, sample.reason);
    std::set<std::string> further;  // of one chain, each reason once
    for (const Step& step : steps(profile, sample, options, several)) {
      auto& child = node->children[step.name];
      if (!child) {
        child = std::make_unique<Building>();
        child->place = step.place;
        child->role = step.role;
      }
      if (child->place != step.place) child->place.clear();
      node = child.get();
      node->add(sample, step.reason);
      if (step.role == FlameRole::reason) further.insert(step.reason);
    }
    for (const std::string& reason : further) reasons[reason] += sample.total_ns;
  }
  FlameTree tree;
  tree.by_process = several;
  size_t nodes = 0;
  const uint64_t least = threshold(root, std::max<size_t>(options.max_nodes, 1), nodes);
  flatten("all", root, 0, 0, least, tree);
  tree.left_out = nodes - tree.nodes.size();
  const auto longest_first = [](const auto& a, const auto& b) { return a.second > b.second; };
  tree.reasons.assign(root.reasons.begin(), root.reasons.end());
  std::stable_sort(tree.reasons.begin(), tree.reasons.end(), longest_first);
  const auto own = static_cast<std::ptrdiff_t>(tree.reasons.size());
  for (const auto& entry : reasons) {
    if (!root.reasons.contains(entry.first)) tree.reasons.push_back(entry);
  }
  std::stable_sort(tree.reasons.begin() + own, tree.reasons.end(), longest_first);
  return tree;
}

std::string folded_stacks(const Profile& profile, const FlameOptions& options) {
  const auto clean = [](std::string_view name) {
    std::string text = sanitize(name);
    std::replace(text.begin(), text.end(), ';', ',');
    return text;
  };
  const bool several = several_processes(profile, options.kind);
  std::map<std::string, uint64_t> lines;
  for (const Sample& sample : profile.samples) {
    if (!wanted(options.kind, sample)) continue;
    std::string line;
    for (const Step& step : steps(profile, sample, options, several))
      line += (line.empty() ? "" : ";") + clean(step.name);
    lines[line] += sample.total_ns;
  }
  std::string text;
  for (const auto& [line, total] : lines) text += line + " " + std::to_string(total) + "\n";
  return text;
}

}  // namespace fiberprof
