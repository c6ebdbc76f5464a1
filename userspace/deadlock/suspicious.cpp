// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/suspicious.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <optional>
#include <tuple>

namespace fiberprof {
namespace {

bool parked(const FiberInfo& fiber) { return fiber.state == FIBERPROF_FIBER_PARKED; }

// A live process's alternatives are read only where a verdict may need them, and where nobody moves.
std::vector<Alternative> waits_of(const FiberState& fiber) {
  if (!fiber.alternatives.empty()) return fiber.alternatives;
  return {{fiber.info.reason, fiber.info.resource}};
}

// Somebody began to wait there not long ago, for as long as it takes: it is in use.
std::unordered_set<uint64_t> in_use(const SuspectLook& look) {
  std::unordered_set<uint64_t> objects;
  for (size_t i = 0; i < look.state.fibers.size(); ++i) {
    const FiberState& fiber = look.state.fibers[i];
    if (!parked(fiber.info) || fiber.info.deadline_ns != 0 || look.age(i) >= look.older_ns) continue;
    for (const Alternative& wait : waits_of(fiber))
      if (wait.reason == FIBERPROF_REASON_CHAN_RECV || wait.reason == FIBERPROF_REASON_CONDITION)
        objects.insert(wait.resource);
  }
  return objects;
}

// Whether that may well be waited for as long as it takes.
bool innocent(const State& state, const std::unordered_set<uint64_t>& in_use, const Alternative& wait) {
  switch (wait.reason) {
    case FIBERPROF_REASON_SLEEP:
    case FIBERPROF_REASON_IO_ACCEPT:
    case FIBERPROF_REASON_IO_READ:
    case FIBERPROF_REASON_CONTEXT:
    case FIBERPROF_REASON_JOIN:
    case FIBERPROF_REASON_WAIT_GROUP:
      return true;
    case FIBERPROF_REASON_CONDITION:
      return in_use.contains(wait.resource);
    case FIBERPROF_REASON_CHAN_RECV: {
      const auto found = state.objects.find(wait.resource);
      if (found == state.objects.end() || !found->second.readable()) return false;
      const ObjectInfo& channel = *found->second.seen[1];
      return channel.timers != 0 || (channel.send_rights != 0 && in_use.contains(wait.resource));
    }
    default:
      return false;
  }
}

// Indices of those whose wait is old and that nothing excuses.
std::vector<size_t> suspects(const SuspectLook& look) {
  const std::unordered_set<uint64_t> used = in_use(look);
  std::vector<size_t> found;
  for (size_t i = 0; i < look.state.fibers.size(); ++i) {
    const FiberState& fiber = look.state.fibers[i];
    if (!look.old(i) || fiber.info.deadline_ns != 0 || std::ranges::binary_search(look.proved, i)) continue;
    if (std::ranges::none_of(waits_of(fiber),
                             [&](const Alternative& wait) { return innocent(look.state, used, wait); }))
      found.push_back(i);
  }
  return found;
}

// Whether it waits for work, rather than for something that it needs to get on with its own.
bool waits_for_work(const State& state, const FiberState& fiber) {
  const std::vector<Alternative> waits = waits_of(fiber);
  return std::ranges::any_of(waits, [&](const Alternative& wait) {
    if (wait.reason == FIBERPROF_REASON_CONDITION || wait.reason == FIBERPROF_REASON_SELECT) return true;
    if (wait.reason != FIBERPROF_REASON_CHAN_RECV) return false;
    const auto channel = state.objects.find(wait.resource);
    return channel == state.objects.end() || !channel->second.readable() || channel->second.seen[1]->send_rights != 0;
  });
}

// Who spawned it reads from a socket, and it waits with it: for what comes in there.
bool serves_reader(const State& state, const FiberInfo& fiber) {
  const FiberState* const parent = state.find(fiber.parent);
  return parent != nullptr && parked(parent->info) && parent->info.reason == FIBERPROF_REASON_IO_READ;
}

// Whether waits for work at one stack look like what is left behind by one request after the other.
bool left_behind(const SuspectLook& look, const std::vector<size_t>& group) {
  std::unordered_set<uint64_t> objects;
  uint64_t first_ns = UINT64_MAX, last_ns = 0;
  for (const size_t i : group) {
    const FiberInfo& fiber = look.state.fibers[i].info;
    objects.insert(fiber.resource);
    first_ns = std::min(first_ns, fiber.since_ns);
    last_ns = std::max(last_ns, fiber.since_ns);
  }
  return objects.size() >= kLeftBehind && last_ns - first_ns >= look.older_ns;
}

template <class Groups>
std::vector<Suspicion> largest_first(Groups groups) {
  std::vector<Suspicion> found;
  for (auto& [key, suspicion] : groups) found.push_back(std::move(suspicion));
  std::ranges::stable_sort(found, [](const Suspicion& a, const Suspicion& b) {
    return std::tie(b.count, b.oldest_ns) < std::tie(a.count, a.oldest_ns);
  });
  return found;
}

// What a fiber counts for among those of one kind; nothing: it does not.
std::optional<uint64_t> grows_as(const SuspectLook& look, size_t fiber, SuspicionKind kind) {
  const FiberInfo& info = look.state.fibers[fiber].info;
  if (kind == SuspicionKind::grows) return info.creator_pc == 0 ? std::nullopt : std::optional(info.creator_pc);
  if (!parked(info) || info.deadline_ns == 0 || look.stacks[fiber] == 0) return {};
  return look.stacks[fiber];
}

constexpr SuspicionKind kGrowing[] = {SuspicionKind::grows, SuspicionKind::deadlines};

}  // namespace

void Suspicion::add(size_t fiber, uint64_t age_ns) {
  ++count;
  oldest_ns = std::max(oldest_ns, age_ns);
  const auto place = std::ranges::upper_bound(examples, age_ns, std::greater<>(), &Example::age_ns);
  if (place == examples.end() && examples.size() == kExamples) return;
  examples.insert(place, {fiber, age_ns});
  if (examples.size() > kExamples) examples.pop_back();
}

bool SuspectLook::old(size_t fiber) const { return parked(state.fibers[fiber].info) && age(fiber) >= older_ns; }

std::vector<Suspicion> spinning(const SuspectLook& look) {
  std::map<uint64_t, Suspicion> places;
  for (const Polling& polling : look.polling) {
    Suspicion& place = places[polling.at];
    ++place.checked;
    if (!polling.spins()) continue;
    place.kind = SuspicionKind::spins;
    if (place.stack == 0) place.stack = polling.stack;
    place.polls += polling.polls;
    place.in_ns = std::max(place.in_ns, polling.in_ns);
    place.add(polling.fiber, look.now_ns - std::min(look.now_ns, polling.since_ns));
  }
  std::erase_if(places, [](const auto& place) { return place.second.count == 0; });
  return largest_first(std::move(places));
}

std::vector<Suspicion> old_waits(const SuspectLook& look) {
  struct Group {
    std::vector<size_t> stuck, for_work;
  };
  std::map<std::pair<uint32_t, uint8_t>, Group> groups;
  for (const size_t i : suspects(look)) {
    const FiberState& fiber = look.state.fibers[i];
    Group& group = groups[{look.stacks[i], fiber.info.reason}];
    if (!waits_for_work(look.state, fiber))
      group.stuck.push_back(i);
    else if (!serves_reader(look.state, fiber.info))
      group.for_work.push_back(i);
  }
  std::map<std::pair<uint32_t, uint8_t>, Suspicion> found;
  for (auto& [key, group] : groups) {
    if (left_behind(look, group.for_work))
      group.stuck.insert(group.stuck.end(), group.for_work.begin(), group.for_work.end());
    if (group.stuck.empty()) continue;
    Suspicion& suspicion = found[key];
    suspicion.stack = key.first;
    suspicion.reason = key.second;
    std::ranges::sort(group.stuck);
    for (const size_t i : group.stuck) suspicion.add(i, look.age(i));
  }
  return largest_first(std::move(found));
}

std::vector<Suspicion> outliving(const SuspectLook& look) {
  std::map<uint64_t, Suspicion> sites;
  if (look.state.torn != 0) return {};
  for (const size_t i : suspects(look)) {
    const FiberInfo& fiber = look.state.fibers[i].info;
    if (fiber.parent == 0 || look.state.find(fiber.parent) != nullptr) continue;
    Suspicion& site = sites[fiber.creator_pc];
    site.kind = SuspicionKind::outlives_parent;
    site.site = fiber.creator_pc;
    site.add(i, look.age(i));
  }
  return largest_first(std::move(sites));
}

void Growth::look(const SuspectLook& look) {
  std::map<SuspicionKind, Counts> counts;
  for (const SuspicionKind kind : kGrowing)
    for (size_t i = 0; i < look.state.fibers.size(); ++i)
      if (const auto key = grows_as(look, i, kind)) ++counts[kind][*key];
  looks_.push_back(std::move(counts));
  if (looks_.size() > kLooks) looks_.pop_front();
}

std::vector<Suspicion> Growth::found(const SuspectLook& look) const {
  std::vector<Suspicion> all;
  if (looks_.size() < kLooks) return all;
  for (const SuspicionKind kind : kGrowing)
    for (Suspicion& one : risen(look, kind)) all.push_back(std::move(one));
  return all;
}

std::vector<Suspicion> Growth::risen(const SuspectLook& look, SuspicionKind kind) const {
  std::map<uint64_t, Suspicion> groups;
  const auto last = looks_.back().find(kind);
  if (last == looks_.back().end()) return {};
  for (const auto& [key, now] : last->second) {
    std::vector<uint64_t> seen;
    for (const auto& counts : looks_) {
      const auto of_kind = counts.find(kind);
      const auto count = of_kind == counts.end() ? Counts::const_iterator() : of_kind->second.find(key);
      seen.push_back(of_kind == counts.end() || count == of_kind->second.end() ? 0 : count->second);
    }
    const bool rose = std::ranges::adjacent_find(seen, std::greater_equal<>()) == seen.end();
    const uint64_t rise = rose ? now - seen.front() : 0;
    if (rise < kLeast || rise < seen.front() / 10) continue;
    Suspicion& group = groups[key];
    group.kind = kind;
    group.seen = std::move(seen);
  }
  for (size_t i = 0; i < look.state.fibers.size() && !groups.empty(); ++i) {
    const auto key = grows_as(look, i, kind);
    const auto group = key ? groups.find(*key) : groups.end();
    if (group == groups.end()) continue;
    const FiberInfo& fiber = look.state.fibers[i].info;
    if (kind == SuspicionKind::grows) {
      group->second.site = fiber.creator_pc;
    } else {
      group->second.stack = look.stacks[i];
      group->second.reason = fiber.reason;
    }
    group->second.add(i, look.age(i));
  }
  return largest_first(std::move(groups));
}

const char* suspicion_text(SuspicionKind kind) {
  switch (kind) {
    case SuspicionKind::spins:
      return "spins";
    case SuspicionKind::old_wait:
      return "old wait";
    case SuspicionKind::ignores_cancel:
      return "ignores cancel";
    case SuspicionKind::outlives_parent:
      return "outlives parent";
    case SuspicionKind::grows:
      return "grows";
    case SuspicionKind::deadlines:
      return "deadlines pile up";
  }
  return "";
}

}  // namespace fiberprof
