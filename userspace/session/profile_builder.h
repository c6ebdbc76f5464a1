// SPDX-License-Identifier: BSD-2-Clause
// Snapshot plus symbols into a Profile. Frames of the runtime stay, marked; folding them is the renderer's choice.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "process/registry_view.h"
#include "profile/profile.h"
#include "session/snapshot.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

class ProfileBuilder {
 public:
  // `symbols` by pid; must outlive this object. Processes without symbols get bare addresses.
  explicit ProfileBuilder(std::map<uint32_t, std::unique_ptr<ProcessSymbols>>& symbols) : symbols_(symbols) {}

  void name_process(uint32_t pid, std::string name) { names_[pid] = std::move(name); }
  void add(const Snapshot& snapshot);
  // Waits still in flight: `waits` fibers with the same reason, name and stack, `total_ns` together.
  struct OpenWaits {
    uint64_t count = 0, total_ns = 0, max_ns = 0;
  };
  void add_open(uint32_t pid, uint8_t reason, const std::string& name, uint64_t entry,
                const std::vector<uint64_t>& stack, const OpenWaits& waits);
  // What the addresses of this process mean may be different from now on: it has ended, or runs another program.
  void forget_addresses(uint32_t pid);
  // What there is so far. Its frames may be added to, but must keep their indices.
  Profile& profile() { return profile_; }
  Profile take() { return std::move(profile_); }

 private:
  enum class Kind : uint8_t { instruction, return_address, kernel };
  const std::vector<uint32_t>& frames_of(uint32_t pid, uint64_t address, Kind kind);
  void append_stack(std::vector<uint32_t>& frames, uint32_t pid, const std::vector<uint64_t>& stack,
                    bool first_is_return);
  std::string function_name(uint32_t pid, uint64_t address);
  void add_blocked(const Snapshot& snapshot);
  void add_off_cpu(const Snapshot& snapshot);
  void add_on_cpu(const Snapshot& snapshot);
  void add_queues(const Snapshot& snapshot);
  void add_queued(const Snapshot& snapshot);
  std::vector<uint32_t> off_cpu_frames(const Snapshot& snapshot, uint32_t pid, StackId kernel_stack,
                                       StackId user_stack);
  // Number of a chain in the profile (session/profile_chains.cpp).
  uint32_t chain_of(const Snapshot& snapshot, uint32_t pid, ChainId id);
  std::string waker_of(const WakerLink& link, const std::vector<uint32_t>& frames) const;

  std::map<uint32_t, std::unique_ptr<ProcessSymbols>>& symbols_;
  std::map<uint32_t, std::string> names_;
  std::map<std::tuple<uint32_t, uint64_t, Kind>, std::vector<uint32_t>> known_;
  // Frames by what they are, wherever they were mapped: each is in the profile once.
  std::map<std::tuple<std::string, std::string, std::string, uint32_t, uint64_t, bool>, uint32_t> interned_;
  std::map<std::pair<uint32_t, ChainId>, uint32_t> chains_;
  Profile profile_;
};

// Causes that are not zero, by the names used in recordings and on stderr.
std::map<std::string, uint64_t> named_losses(const Losses& losses);

}  // namespace fiberprof
