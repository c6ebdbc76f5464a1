// SPDX-License-Identifier: BSD-2-Clause
#include "render/deadlock_phrases.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <cstdio>

#include "session/names.h"
#include "support/text.h"

namespace fiberprof {

DeadlockPhrases::DeadlockPhrases(const Detection& detection, Place place)
    : state_(detection.state), verdict_(detection.verdict), place_(std::move(place)) {
  for (const DeadlockCause& cause : verdict_.causes)
    for (const size_t index : cause.fibers) held_.emplace(index, std::vector<Need>());
  for (const auto& [at, seen] : state_.objects)
    if (seen.seen[1] && seen.seen[1]->owner != 0) owned_[seen.seen[1]->owner].push_back(at);
  for (const auto& [need, fibers] : verdict_.holdings)
    for (const size_t index : fibers)
      if (const auto found = held_.find(index); found != held_.end()) found->second.push_back(need);
  for (const size_t index : verdict_.dead) {
    const FiberState& fiber = state_.fibers[index];
    for (const Alternative& wait : fiber.alternatives)
      if (wait.reason != FIBERPROF_REASON_JOIN && wait.resource != 0) waiters_[wait.resource].push_back(index);
    if (!verdict_.holdings.empty())
      for (const Need& need : needs_of(state_, fiber)) in_need_[need].push_back(index);
  }
}

std::string DeadlockPhrases::address(uint64_t address) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(address));
  return text;
}

const ObjectInfo* DeadlockPhrases::info(uint64_t address) const {
  const auto found = state_.objects.find(address);
  return found == state_.objects.end() || !found->second.seen[1] ? nullptr : &*found->second.seen[1];
}

std::string DeadlockPhrases::fiber(uint64_t id) const {
  std::string label = "fiber " + std::to_string(id);
  const FiberState* fiber = state_.find(id);
  if (fiber != nullptr && !fiber->info.name.empty()) label += " \"" + sanitize(fiber->info.name) + "\"";
  return label;
}

std::string DeadlockPhrases::owner(uint64_t owner) const {
  if ((owner & FIBERPROF_OWNER_THREAD) != 0) return "thread " + std::to_string(owner & ~FIBERPROF_OWNER_THREAD);
  if (!state_.exists(owner)) return "fiber " + std::to_string(owner) + ", which has ended";
  return fiber(owner);
}

std::string DeadlockPhrases::object(uint64_t at) const {
  const ObjectInfo* object = info(at);
  if (object == nullptr) return "object (" + address(at) + ")";
  std::string label = object_kind_text(object->kind);
  if (!object->name.empty()) label += " \"" + sanitize(object->name) + "\"";
  return label + " (" + address(at) + ")";
}

std::vector<uint64_t> DeadlockPhrases::holders(const Need& need) const {
  std::vector<uint64_t> ids;
  if (const auto found = verdict_.holdings.find(need); found != verdict_.holdings.end())
    for (const size_t index : found->second) ids.push_back(state_.fibers[index].info.id);
  return ids;
}

std::vector<uint64_t> DeadlockPhrases::enablers(const FiberState& fiber, const Alternative& wait) const {
  std::vector<uint64_t> ids;
  const auto position = std::lower_bound(verdict_.dead.begin(), verdict_.dead.end(), state_.by_id.at(fiber.info.id));
  if (position != verdict_.dead.end() && state_.fibers[*position].info.id == fiber.info.id)
    for (const Enabler& owner : verdict_.owners[static_cast<size_t>(position - verdict_.dead.begin())])
      if (wait.reason == FIBERPROF_REASON_JOIN ? owner.fiber == wait.resource : owner.object == wait.resource)
        ids.push_back(owner.fiber);
  if (verdict_.holdings.empty()) return ids;
  FiberState one;
  one.alternatives = {wait};
  for (const Need& need : needs_of(state_, one))
    for (const uint64_t id : holders(need)) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

// "fiber 4 \"B\" or fiber 5"; the fiber itself counts only where it is alone.
std::string DeadlockPhrases::who(const FiberState& of, const std::vector<uint64_t>& ids, const char* last) const {
  constexpr size_t kNamed = 3;
  std::vector<uint64_t> others = ids;
  std::erase(others, of.info.id);
  if (others.empty()) return "it itself";
  const size_t named = others.size() <= kNamed ? others.size() : kNamed - 1;
  std::string text;
  for (size_t i = 0; i < named; ++i)
    text += (i == 0 ? "" : i + 1 == others.size() ? std::string(" ") + last + " " : ", ") + fiber(others[i]);
  return named == others.size() ? text : text + " " + last + " " + std::to_string(others.size() - named) + " others";
}

std::string DeadlockPhrases::only(const FiberState& fiber, const Alternative& wait, const char* could,
                                  const char* nobody) const {
  const std::vector<uint64_t> ids = enablers(fiber, wait);
  if (ids.empty()) return nobody;
  return "; only " + who(fiber, ids, "or") + " could " + could;
}

// What one alternative of a wait waits for, and why that does not come.
std::string DeadlockPhrases::wait(const FiberState& fiber, const Alternative& wait, bool brief) const {
  switch (wait.reason) {
    case FIBERPROF_REASON_NIL_CHANNEL:
      return "waits on a nil channel";
    case FIBERPROF_REASON_EMPTY_SELECT:
      return "waits in a select without arms";
    case FIBERPROF_REASON_JOIN:
      return "waits for " + (wait.resource == fiber.info.id ? "itself" : this->fiber(wait.resource)) + " to end";
    default:
      break;
  }
  if (wait.resource == 0) return "has an arm on a nil channel";
  const ObjectInfo* seen = info(wait.resource);
  if (seen == nullptr) return "waits: " + reason_name(static_cast<uint8_t>(wait.reason));
  std::string label = object(wait.resource);
  const auto owned_by = [&] { return seen->owner == fiber.info.id ? "itself" : owner(seen->owner); };
  const auto channel = [&] {
    return !brief && seen->creator_pc != 0 ? label + ", made at " + place_(seen->creator_pc) : label;
  };
  switch (wait.reason) {
    case FIBERPROF_REASON_CHAN_RECV:
      return "waits to receive from " + channel() +
             only(fiber, wait, "send", seen->send_rights == 0 ? "; no sender is left" : "; nobody can reach a sender");
    case FIBERPROF_REASON_CHAN_SEND:
      return "waits to send to " + channel() +
             only(fiber, wait, "receive",
                  seen->receive_rights == 0 ? "; no receiver is left" : "; nobody can reach a receiver");
    case FIBERPROF_REASON_MUTEX:
      return "waits to lock " + label + ", held by " + owned_by();
    case FIBERPROF_REASON_RWLOCK_READ:
    case FIBERPROF_REASON_RWLOCK_WRITE: {
      std::string phrase = wait.reason == FIBERPROF_REASON_RWLOCK_READ ? "waits to read-lock " : "waits to write-lock ";
      phrase += label;
      const ObjectState& lock = state_.objects.at(wait.resource);
      if (seen->owner != 0) return phrase + ", write-locked by " + owned_by();
      const std::vector<uint64_t> before = enablers(fiber, wait);
      if (wait.reason == FIBERPROF_REASON_RWLOCK_READ)
        return phrase + ", behind " + (before.empty() ? "a writer" : this->fiber(before.front())) +
               ", who waits to write";
      if (lock.readers_settled && lock.orphaned > 0)
        return phrase + ", read-locked by " + std::to_string(lock.orphaned) + " that ended without unlocking it";
      const std::string readers = std::to_string(seen->count & 0xffff'ffff);
      return phrase + ", read-locked by " + (before.empty() ? readers : readers + ": " + who(fiber, before, "and"));
    }
    case FIBERPROF_REASON_ONCE:
      return "waits for " + label + ", run by " + owned_by();
    case FIBERPROF_REASON_WAIT_GROUP: {
      const std::string count = std::to_string(seen->count);
      return "waits for " + label + ", of which " + count + (seen->count == 1 ? " is" : " are") + " not done" +
             only(fiber, wait, "do that",
                  seen->tokens > 0 ? "; nobody has a token of it" : "; nobody else can reach it");
    }
    case FIBERPROF_REASON_CONDITION:
      return "waits for " + label + only(fiber, wait, "notify", "; nobody is left to notify");
    case FIBERPROF_REASON_SEMAPHORE:
      return "waits for " + label + only(fiber, wait, "release it", "; nobody is left to release it");
    case FIBERPROF_REASON_BARRIER:
      return "waits at " + label + only(fiber, wait, "arrive", "; nobody is left to arrive");
    case FIBERPROF_REASON_CONTEXT:
      return "waits for the end of " + label + only(fiber, wait, "cancel it", ", which nobody can cancel");
    default:
      return "waits for " + label;
  }
}

std::vector<std::string> DeadlockPhrases::waits(const FiberState& fiber, bool brief) const {
  constexpr size_t kArms = 8;
  std::vector<std::string> all;
  for (size_t i = 0; i < fiber.alternatives.size() && i < kArms; ++i)
    all.push_back((i == 0 ? "" : "or ") + wait(fiber, fiber.alternatives[i], brief));
  if (fiber.alternatives.size() > kArms)
    all.push_back("or for one of " + std::to_string(fiber.alternatives.size() - kArms) + " more");
  if (fiber.info.context != 0)
    if (const auto ids = enablers(fiber, {FIBERPROF_REASON_CONTEXT, fiber.info.context}); !ids.empty())
      all.push_back("or for " + object(fiber.info.context) + "; only " + who(fiber, ids, "or") + " could cancel it");
  return all;
}

// ", for which fiber 4 waits"; nothing: nobody else does.
std::string DeadlockPhrases::awaited(const FiberState& holder, const std::vector<size_t>& waiters) const {
  std::vector<uint64_t> ids;
  for (const size_t index : waiters) ids.push_back(state_.fibers[index].info.id);
  std::erase(ids, holder.info.id);
  if (ids.empty()) return "";
  return ", for which " + who(holder, ids, "and") + (ids.size() == 1 ? " waits" : " wait");
}

// "holds the only send right of channel …".
std::string DeadlockPhrases::right(const Need& need) const {
  const ObjectInfo* seen = info(need.object);
  const bool alone = holders(need).size() == 1;
  const auto of = [&](const std::string& what, uint32_t rights) {
    const std::string name = what + " right of " + object(need.object);
    if (rights <= 1) return (alone ? "holds the only " : "shares the only ") + name;
    return alone ? "holds the only " + what + " right within reach of " + object(need.object) : "holds a " + name;
  };
  switch (need.right) {
    case Right::send:
      return of("send", seen == nullptr ? 0 : seen->send_rights);
    case Right::receive:
      return of("receive", seen == nullptr ? 0 : seen->receive_rights);
    case Right::cancel:
      return (alone ? "holds the right to cancel " : "shares the right to cancel ") + object(need.object);
    case Right::token:
      return "holds a token of " + object(need.object);
    case Right::touch:
      break;
  }
  return (alone ? "holds the only reference to " : "can reach ") + object(need.object);
}

std::vector<std::string> DeadlockPhrases::holds(const FiberState& fiber) const {
  constexpr size_t kMost = 8;
  std::vector<std::string> all;
  if (const auto found = owned_.find(fiber.info.id); found != owned_.end())
    for (const uint64_t at : found->second) {
      const auto waiters = waiters_.find(at);
      all.push_back("holds " + object(at) + (waiters == waiters_.end() ? "" : awaited(fiber, waiters->second)));
    }
  for (const uint64_t lock : fiber.info.shared) {
    if (lock == 0) continue;
    const auto waiters = waiters_.find(lock);
    all.push_back("holds " + (info(lock) == nullptr ? "rwlock (" + address(lock) + ")" : object(lock)) + " to read" +
                  (waiters == waiters_.end() ? "" : awaited(fiber, waiters->second)));
  }
  std::sort(all.begin(), all.end());
  if (const auto found = held_.find(state_.by_id.at(fiber.info.id)); found != held_.end())
    for (const Need& need : found->second) {
      const std::string others = awaited(fiber, in_need_.at(need));
      // What a fiber has of that which it waits for itself is no news, unless nobody else has it.
      if (!others.empty() || holders(need).size() == 1) all.push_back(right(need) + others);
    }
  if (all.size() > kMost) {
    const size_t more = all.size() - kMost + 1;
    all.resize(kMost - 1);
    all.push_back("and " + std::to_string(more) + " more");
  }
  return all;
}

}  // namespace fiberprof
