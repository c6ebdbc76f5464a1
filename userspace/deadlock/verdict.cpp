// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/verdict.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <unordered_map>

namespace fiberprof {
namespace {

// The wait-for graph over the dead, by their positions in `dead`.
using Graph = std::vector<std::vector<size_t>>;

// Strongly connected components, each after all that it leads to (Tarjan 1972), without recursion: chains of waits are
// as long as the target likes.
std::vector<std::vector<size_t>> components(const Graph& graph) {
  constexpr size_t kNone = SIZE_MAX;
  std::vector<size_t> index(graph.size(), kNone), low(graph.size()), stack;
  std::vector<char> on_stack(graph.size());
  struct Visit {
    size_t node, edge;
  };
  std::vector<Visit> visits;
  std::vector<std::vector<size_t>> found;
  size_t next = 0;
  const auto enter = [&](size_t node) {
    index[node] = low[node] = next++;
    stack.push_back(node);
    on_stack[node] = 1;
    visits.push_back({node, 0});
  };
  for (size_t root = 0; root < graph.size(); ++root) {
    if (index[root] != kNone) continue;
    enter(root);
    while (!visits.empty()) {
      Visit& visit = visits.back();
      const size_t node = visit.node;
      if (visit.edge < graph[node].size()) {
        const size_t to = graph[node][visit.edge++];
        if (index[to] == kNone)
          enter(to);
        else if (on_stack[to] != 0)
          low[node] = std::min(low[node], index[to]);
        continue;
      }
      visits.pop_back();
      if (!visits.empty()) low[visits.back().node] = std::min(low[visits.back().node], low[node]);
      if (low[node] != index[node]) continue;
      found.emplace_back();
      size_t member = kNone;
      do {
        member = stack.back();
        stack.pop_back();
        on_stack[member] = 0;
        found.back().push_back(member);
      } while (member != node);
    }
  }
  return found;
}

// A way round inside a component, so that each waits for the next: the shortest through its first member.
std::vector<size_t> way_round(const Graph& graph, const std::vector<size_t>& members,
                              const std::vector<size_t>& component) {
  const size_t start = *std::min_element(members.begin(), members.end());
  std::unordered_map<size_t, size_t> from;
  std::vector<size_t> queue{start};
  for (size_t head = 0; head < queue.size(); ++head)
    for (const size_t to : graph[queue[head]]) {
      if (component[to] != component[start]) continue;
      if (to == start) {
        std::vector<size_t> way;
        for (size_t node = queue[head]; node != start; node = from.at(node)) way.push_back(node);
        way.push_back(start);
        std::reverse(way.begin(), way.end());
        return way;
      }
      if (from.emplace(to, queue[head]).second) queue.push_back(to);
    }
  return {start};
}

// Whether what it waits for is held by a fiber that has ended.
bool orphaned(const State& state, const FiberState& fiber) {
  return std::any_of(fiber.alternatives.begin(), fiber.alternatives.end(), [&](const Alternative& wait) {
    const auto found = state.objects.find(wait.resource);
    if (found == state.objects.end() || !found->second.readable()) return false;
    const ObjectState& object = found->second;
    if (object.readers_settled && object.orphaned > 0) return true;
    const uint64_t owner = object.seen[1]->owner;
    return owner != 0 && (owner & FIBERPROF_OWNER_THREAD) == 0 && state.find(owner) == nullptr;
  });
}

}  // namespace

Verdict explain(const State& state, const Solver& solver, const std::vector<size_t>& dead, Grade grade) {
  Verdict verdict;
  verdict.dead = dead;
  verdict.global = !dead.empty() && dead.size() == state.fibers.size() && state.torn == 0;
  std::unordered_map<uint64_t, size_t> position;  // of a fiber's id in `dead`
  for (size_t i = 0; i < dead.size(); ++i) position.emplace(state.fibers[dead[i]].info.id, i);
  Graph graph(dead.size()), behind(dead.size());
  for (size_t i = 0; i < dead.size(); ++i) {
    const auto enablers = solver.enablers(dead[i]);
    verdict.waits.push_back(enablers.empty() ? Enabler{} : enablers.front());
    for (const Enabler& enabler : enablers) {
      const size_t to = position.at(enabler.fiber);
      graph[i].push_back(to);
      behind[to].push_back(i);
    }
  }
  const auto parts = components(graph);
  std::vector<size_t> component(dead.size());
  for (size_t part = 0; part < parts.size(); ++part)
    for (const size_t member : parts[part]) component[member] = part;
  for (const std::vector<size_t>& members : parts) {
    const bool terminal = std::all_of(members.begin(), members.end(), [&](size_t member) {
      return std::all_of(graph[member].begin(), graph[member].end(),
                         [&](size_t to) { return component[to] == component[member]; });
    });
    if (!terminal) continue;
    DeadlockCause cause;
    cause.grade = grade;
    const std::vector<size_t> core = graph[members.front()].empty() ? members : way_round(graph, members, component);
    if (graph[core.front()].empty())
      cause.kind = orphaned(state, state.fibers[dead[core.front()]]) ? DeadlockKind::orphan : DeadlockKind::leak;
    else
      cause.kind = core.size() == 1 ? DeadlockKind::self : DeadlockKind::cycle;
    std::vector<char> seen(dead.size());
    std::vector<size_t> queue = core;
    for (const size_t member : core) seen[member] = 1;
    for (size_t head = 0; head < queue.size(); ++head)
      for (const size_t from : behind[queue[head]])
        if (seen[from] == 0) {
          seen[from] = 1;
          queue.push_back(from);
          cause.behind.push_back(dead[from]);
        }
    std::vector<uint64_t> since;
    for (const size_t member : core) {
      cause.fibers.push_back(dead[member]);
      since.push_back(state.fibers[dead[member]].info.since_ns);
    }
    std::sort(since.begin(), since.end());
    cause.closed_ns = since.back();
    cause.last_moved_ns = since.size() > 1 ? since[since.size() - 2] : since.back();
    std::sort(cause.behind.begin(), cause.behind.end());
    verdict.causes.push_back(std::move(cause));
  }
  std::stable_sort(verdict.causes.begin(), verdict.causes.end(), [](const DeadlockCause& a, const DeadlockCause& b) {
    return a.fibers.size() + a.behind.size() > b.fibers.size() + b.behind.size();
  });
  return verdict;
}

std::string headline(const DeadlockCause& cause) {
  const std::string count = std::to_string(cause.fibers.size());
  switch (cause.kind) {
    case DeadlockKind::cycle:
      return count + " fibers wait for each other in a cycle";
    case DeadlockKind::self:
      return "a fiber waits for itself";
    case DeadlockKind::orphan:
      return "a lock was never released: its holder has ended";
    case DeadlockKind::leak:
      return "nothing is left that could end a wait";
  }
  return "";
}

const char* cause_text(DeadlockKind kind) {
  switch (kind) {
    case DeadlockKind::cycle:
      return "cycle";
    case DeadlockKind::self:
      return "waits for itself";
    case DeadlockKind::orphan:
      return "orphaned lock";
    case DeadlockKind::leak:
      return "leak";
  }
  return "";
}

const char* grade_text(Grade grade) { return grade == Grade::certain ? "certain" : "proved"; }

}  // namespace fiberprof
