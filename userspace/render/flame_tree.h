// SPDX-License-Identifier: BSD-2-Clause
// Stacks merged into a tree, from where fibers begin to what they wait for: what a flame graph draws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "profile/profile.h"

namespace fiberprof {

enum class FlameKind {
  blocked,  // waits of fibers: ended and still in flight
  off_cpu,  // fibers whose worker the kernel took away
  all,      // both; idle workers are in neither
  cpu,      // what ran, fibers and the scheduler between them
};

struct FlameOptions {
  FlameKind kind = FlameKind::blocked;
  bool all_frames = false;
  bool wakers = false;        // go on above each wait: who ended it, and what had held that one up
  size_t max_nodes = 20'000;  // a browser stays fluent; what is narrower than the rest is left out, and said
};

enum class FlameRole : uint8_t {
  function,
  reason,     // the cap of a stack: not a function but what was waited for
  separator,  // between a wait and who ended it
  waker,      // a function of who ended the wait: its stack is turned round
};

struct FlameNode {
  std::string name;    // function, process or reason; as recorded, not sanitized
  std::string place;   // "log.cpp:42", when all samples agree on it
  std::string reason;  // the reason of most of its time; empty: separator, waker
  double purity = 0;   // that reason's share of its time
  FlameRole role{};
  uint32_t depth = 0;     // 0: the root
  uint64_t start_ns = 0;  // where it begins from the left, on a line `root.total_ns` long
  uint64_t total_ns = 0;
  uint64_t count = 0;
  uint64_t max_ns = 0;
};

struct FlameTree {
  std::vector<FlameNode> nodes;  // in preorder, siblings by name; the first is the root
  bool by_process = false;       // several processes: they are the nodes of depth 1
  uint32_t depth = 0;            // deepest level
  size_t left_out = 0;           // nodes too small to keep
  // Total by reason, longest first; with wakers, then by those that are only found further up.
  std::vector<std::pair<std::string, uint64_t>> reasons;
};

FlameTree flame_tree(const Profile& profile, const FlameOptions& options);

// "root;caller;callee;[reason] nanoseconds", one line a stack, for other tools. Names are sanitized; ';' becomes ','.
std::string folded_stacks(const Profile& profile, const FlameOptions& options);

}  // namespace fiberprof
