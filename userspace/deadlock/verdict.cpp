// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/verdict.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <map>
#include <queue>
#include <unordered_map>

namespace fiberprof {
namespace {

// Who leads to whom, by numbers.
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

// Who waits for whom. A node is one of the dead, by its position among them, or one of the things they need: it leads
// to whoever holds it.
struct Waits {
  size_t fibers = 0;
  Graph graph;
  bool is_fiber(size_t node) const { return node < fibers; }
};

Waits waits_for(const State& state, const std::vector<size_t>& dead, const std::vector<std::vector<Enabler>>& owners,
                const Holdings& holdings) {
  Waits waits{dead.size(), Graph(dead.size())};
  const auto position = [&](size_t fiber) {
    return static_cast<size_t>(std::lower_bound(dead.begin(), dead.end(), fiber) - dead.begin());
  };
  std::map<Need, size_t> node;
  for (const auto& [need, holders] : holdings) {
    node.emplace(need, waits.graph.size());
    std::vector<size_t>& edges = waits.graph.emplace_back();
    for (const size_t fiber : holders) edges.push_back(position(fiber));
  }
  for (size_t i = 0; i < dead.size(); ++i) {
    for (const Enabler& owner : owners[i]) waits.graph[i].push_back(position(state.by_id.at(owner.fiber)));
    if (node.empty()) continue;
    for (const Need& need : needs_of(state, state.fibers[dead[i]]))
      if (const auto found = node.find(need); found != node.end()) waits.graph[i].push_back(found->second);
  }
  return waits;
}

// A way round inside a component, so that each fiber waits for the next, and how little there is to say against it.
struct Way {
  std::vector<size_t> fibers;
  size_t cost = SIZE_MAX;
};

// How much speaks against that one fiber waits for just that other: where several hold what it needs, the more the
// more, and for one that needs it itself.
size_t cost_of(const Waits& waits, size_t thing) {
  return 2 * static_cast<size_t>(std::bit_width(waits.graph[thing].size()));
}
size_t cost_of(const Waits& waits, size_t thing, size_t holder) {
  const std::vector<size_t>& needs = waits.graph[holder];
  return std::find(needs.begin(), needs.end(), thing) == needs.end() ? 0 : 4;
}

// The cheapest through `start` that is longer than itself (Dijkstra 1959); none that costs `most` or more.
Way way_round(const Waits& waits, size_t start, const std::vector<size_t>& component, size_t most) {
  struct Reached {
    size_t cost = 0, from = 0;
  };
  std::unordered_map<size_t, Reached> reached;
  using Next = std::pair<size_t, size_t>;  // cost, node
  std::priority_queue<Next, std::vector<Next>, std::greater<>> queue;
  Way way;
  size_t last = start;
  queue.emplace(0, start);
  while (!queue.empty() && queue.top().first < std::min(most, way.cost)) {
    const auto [cost, node] = queue.top();
    queue.pop();
    if (const auto known = reached.find(node); known != reached.end() && known->second.cost < cost) continue;
    const auto close = [&](size_t whole) {
      if (node == start || whole >= way.cost) return;
      way.cost = whole;
      last = node;
    };
    for (const size_t to : waits.graph[node]) {
      if (component[to] != component[start]) continue;
      const bool thing = !waits.is_fiber(to), from_thing = !waits.is_fiber(node);
      const size_t whole = cost + (thing ? cost_of(waits, to) : 1 + (from_thing ? cost_of(waits, node, to) : 0));
      if (to == start) {
        if (!from_thing) close(whole);
        continue;
      }
      // What `start` needs itself, and so has been come by before, may be what it holds.
      if (thing && std::binary_search(waits.graph[to].begin(), waits.graph[to].end(), start))
        close(whole + 1 + cost_of(waits, to, start));
      const auto [known, fresh] = reached.try_emplace(to, Reached{whole, node});
      if (!fresh && known->second.cost <= whole) continue;
      known->second = {whole, node};
      queue.emplace(whole, to);
    }
  }
  if (way.cost >= most) return {};
  for (size_t node = last; node != start; node = reached.at(node).from)
    if (waits.is_fiber(node)) way.fibers.push_back(node);
  way.fibers.push_back(start);
  std::reverse(way.fibers.begin(), way.fibers.end());
  return way;
}

// Of the ways round through some of the fibers of a component, the one with least to say against it.
std::vector<size_t> core_of(const Waits& waits, std::vector<size_t> members, const std::vector<size_t>& component) {
  constexpr size_t kStarts = 16;
  std::erase_if(members, [&](size_t node) { return !waits.is_fiber(node); });
  std::sort(members.begin(), members.end());
  Way best;
  for (size_t i = 0; i < members.size() && i < kStarts; ++i)
    if (Way way = way_round(waits, members[i], component, best.cost); !way.fibers.empty()) best = std::move(way);
  return best.fibers.empty() ? std::vector<size_t>{members.front()} : best.fibers;
}

// Whether what it waits for is held by a fiber that has ended.
bool orphaned(const State& state, const FiberState& fiber) {
  return std::any_of(fiber.alternatives.begin(), fiber.alternatives.end(), [&](const Alternative& wait) {
    const auto found = state.objects.find(wait.resource);
    if (found == state.objects.end() || !found->second.readable()) return false;
    const ObjectState& object = found->second;
    if (object.readers_settled && object.orphaned > 0) return true;
    const uint64_t owner = object.seen[1]->owner;
    return owner != 0 && (owner & FIBERPROF_OWNER_THREAD) == 0 && !state.exists(owner);
  });
}

}  // namespace

Verdict explain(const State& state, const Solver& solver, const std::vector<size_t>& dead, Grade grade,
                Holdings holdings) {
  Verdict verdict;
  verdict.dead = dead;
  verdict.global = !dead.empty() && dead.size() == state.total() && state.torn == 0;
  for (const size_t fiber : dead) verdict.owners.push_back(solver.enablers(fiber));
  verdict.holdings = std::move(holdings);
  const Waits waits = waits_for(state, dead, verdict.owners, verdict.holdings);
  const Graph& graph = waits.graph;
  Graph behind(graph.size());
  for (size_t node = 0; node < graph.size(); ++node)
    for (const size_t to : graph[node]) behind[to].push_back(node);
  const auto parts = components(graph);
  std::vector<size_t> component(graph.size());
  for (size_t part = 0; part < parts.size(); ++part)
    for (const size_t member : parts[part]) component[member] = part;
  std::vector<size_t> reached(graph.size(), SIZE_MAX);  // by which cause
  for (const std::vector<size_t>& members : parts) {
    const bool terminal = std::all_of(members.begin(), members.end(), [&](size_t member) {
      return std::all_of(graph[member].begin(), graph[member].end(),
                         [&](size_t to) { return component[to] == component[member]; });
    });
    if (!terminal) continue;
    DeadlockCause cause;
    cause.grade = grade;
    const std::vector<size_t> core = core_of(waits, members, component);
    if (graph[core.front()].empty())
      cause.kind = orphaned(state, state.fibers[dead[core.front()]]) ? DeadlockKind::orphan : DeadlockKind::leak;
    else
      cause.kind = core.size() == 1 ? DeadlockKind::self : DeadlockKind::cycle;
    const size_t number = verdict.causes.size();
    std::vector<size_t> queue = core;
    for (const size_t member : core) reached[member] = number;
    for (size_t head = 0; head < queue.size(); ++head)
      for (const size_t from : behind[queue[head]])
        if (reached[from] != number) {
          reached[from] = number;
          queue.push_back(from);
          if (waits.is_fiber(from)) cause.behind.push_back(dead[from]);
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
      return "a fiber waits for what only it could do";
    case DeadlockKind::orphan:
      return "a lock was never released: its holder has ended";
    case DeadlockKind::leak:
      return "nobody is left who could end a wait";
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
