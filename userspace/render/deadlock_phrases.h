// SPDX-License-Identifier: BSD-2-Clause
// How a verdict names things: fibers, what they wait for and why that does not come, what they hold.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "deadlock/detect.h"

namespace fiberprof {

class DeadlockPhrases {
 public:
  using Place = std::function<std::string(uint64_t code)>;
  // `detection` must outlive it.
  DeadlockPhrases(const Detection& detection, Place place);

  std::string fiber(uint64_t id) const;        // "fiber 3 \"A\""
  std::string object(uint64_t address) const;  // "channel \"done\" (0x7f…)"
  // "waits to lock mutex (0x7f…), held by fiber 4"; of a select, a line for each of its first arms. `brief`: without
  // where channels were made.
  std::vector<std::string> waits(const FiberState& fiber, bool brief) const;
  // What a fiber has that others wait for, and its read-locks: "holds the only send right of channel …, for which fiber
  // 4 waits". Of a cause's fibers only.
  std::vector<std::string> holds(const FiberState& fiber) const;
  // Ids of the dead who could end one way of a fiber's wait, by identity or by what they hold.
  std::vector<uint64_t> enablers(const FiberState& fiber, const Alternative& wait) const;
  const ObjectInfo* info(uint64_t address) const;  // null: not readable
  static std::string address(uint64_t address);

 private:
  std::string wait(const FiberState& fiber, const Alternative& wait, bool brief) const;
  std::string owner(uint64_t owner) const;
  std::string who(const FiberState& fiber, const std::vector<uint64_t>& ids, const char* last) const;
  std::string awaited(const FiberState& fiber, const std::vector<size_t>& waiters) const;
  std::string only(const FiberState& fiber, const Alternative& wait, const char* could, const char* nobody) const;
  std::string right(const Need& need) const;
  std::vector<uint64_t> holders(const Need& need) const;

  const State& state_;
  const Verdict& verdict_;
  Place place_;
  std::unordered_map<uint64_t, std::vector<uint64_t>> owned_;  // objects, by the id of their owner
  std::unordered_map<uint64_t, std::vector<size_t>> waiters_;  // of the dead, for such an object
  std::map<Need, std::vector<size_t>> in_need_;                // and for what somebody holds
  std::unordered_map<size_t, std::vector<Need>> held_;         // by index in State::fibers: of those that are causes
};

}  // namespace fiberprof
