// SPDX-License-Identifier: BSD-2-Clause
// Which of those who will never run again holds what could end the wait of another: what a proof is explained with, and
// never what it rests on. A proof has shown that nobody else holds it.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <vector>

#include "deadlock/landmarks.h"
#include "deadlock/solver.h"
#include "deadlock/state.h"

namespace fiberprof {

// What somebody would have to have to end a wait.
struct Need {
  uint64_t object = 0;
  Right right = Right::touch;
  auto operator<=>(const Need&) const = default;
};

// Of a fiber that waits: what could end its wait, but for those whom it waits for by identity (Solver::enablers).
std::vector<Need> needs_of(const State& state, const FiberState& fiber);

// By what is needed: indices in State::fibers, ascending, of those who hold it. Nobody: no entry.
using Holdings = std::map<Need, std::vector<size_t>>;

// Of `dead` (ascending), by their memory: what lies on a fiber's stack and in blocks that lead from there is the
// fiber's. A right on another one's stack is held by who knows the very place, too. `searched(chunk)`: those who live
// reach it, and what it holds was not enough.
class HoldingSearch {
 public:
  HoldingSearch(const State& state, const Landmarks& marks, const std::vector<size_t>& dead,
                const std::vector<char>& searched);
  Holdings find();

 private:
  using Node = uint32_t;  // dead fibers by their number, then blocks
  struct Place {          // on a stack, where a right is
    uint64_t stack = 0;   // its lower end
    size_t thing = 0;
  };

  void scan(uint64_t start, uint64_t end, Node from, const FiberState* stack_of);
  void word(uint64_t value, uint64_t place, Node from, const FiberState* stack_of);
  void object_word(const Landmarks::Object& object, uint64_t value, uint64_t place, Node from,
                   const FiberState* stack_of);
  void enter(std::ptrdiff_t chunk, Node from);
  void hold(const Need& need, Node from, uint64_t place, const FiberState* stack_of);
  void by_reference();
  std::vector<size_t> fibers_behind(std::vector<Node> nodes);
  bool waits_for(size_t fiber, uint64_t object) const;

  const State& state_;
  const Landmarks& marks_;
  const std::vector<size_t>& dead_;
  const std::vector<char>& searched_;
  std::map<Need, size_t> index_;                     // of things: what somebody needs
  std::vector<std::vector<Node>> certain_, likely_;  // who has each thing; and who might, if nobody has
  std::unordered_multimap<uint64_t, Place> places_;  // by address
  std::unordered_map<uint64_t, std::vector<size_t>> on_stack_;
  struct Reference {
    uint64_t value = 0;
    Node from = 0;
  };
  std::vector<Reference> references_;  // to other fibers' stacks
  std::unordered_map<std::ptrdiff_t, Node> block_of_;
  std::vector<std::ptrdiff_t> chunks_;      // of blocks, in the order of their numbers
  std::vector<std::vector<Node>> sources_;  // who leads to each block
  std::vector<uint32_t> visited_;           // nodes, by the last search that came there
  uint32_t search_ = 0;
  uint64_t steps_ = 0;
};

}  // namespace fiberprof
