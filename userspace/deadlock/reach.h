// SPDX-License-Identifier: BSD-2-Clause
// What those who live can reach in memory: the evidence of a proof.
//
// A conservative search, as a garbage collector for C does it (Boehm): every byte may begin a pointer, and a pointer
// into something leads to all of it. It begins with what is reachable whatever happens: globals, thread-local
// variables, the stacks and registers of threads, epoll data, all memory whose blocks are not known; and with the stack
// of each fiber as soon as it lives. A word that is stale makes something count as reachable that is not, which costs a
// finding; no word is left out that the program could still use, for that would be a false one.
#pragma once

#include <cstdint>
#include <unordered_set>
#include <vector>

#include "deadlock/landmarks.h"
#include "deadlock/solver.h"

namespace fiberprof {

class ReachEvidence final : public Evidence {
 public:
  // Both must outlive it. Searches what is reachable whatever happens.
  ReachEvidence(const State& state, const Landmarks& marks);

  bool has(Right right, uint64_t object) const override;
  int64_t tokens(uint64_t object, int64_t enough) const override;
  void revive(const FiberState& fiber, std::vector<uint64_t>& changed) override;
  uint64_t searched() const { return searched_; }                // bytes
  const std::vector<char>& entered() const { return entered_; }  // blocks of the heap that are within reach

 private:
  using Source = Landmarks::Source;
  struct Gained {  // of an object
    uint8_t rights = 0;
    bool opened = false;  // what it holds has been searched
    int64_t words = 0;    // that hold exactly its address
  };

  void search(uint64_t start, uint64_t end, const Source& source);
  void search_but_heads(uint64_t start, uint64_t end, const Source& source);
  void bytes(std::span<const char> memory, const Source& source);
  void word(uint64_t value, const Source& source);
  void gain(size_t object, uint8_t rights);
  void open(size_t object);
  void enter_chunk(std::ptrdiff_t index);
  void enter_stack(const Range& stack);
  void roots();
  const WorkerInfo* worker_on(const StoppedThread& thread) const;
  bool sleeps(const WorkerInfo* worker, const StoppedThread& thread) const;
  Range free_stack(const StoppedThread& thread) const;
  void work();

  const State& state_;
  const Landmarks& marks_;
  const Image& image_;
  const Heap& heap_;
  std::vector<Gained> gained_;  // as Landmarks::objects()
  std::vector<char> entered_;   // chunks
  std::unordered_set<uint64_t> entered_stacks_;
  struct Todo {
    uint64_t start = 0, end = 0;
    bool but_heads = false;              // of known objects
    const FiberState* parked = nullptr;  // whose stack it is
  };
  std::vector<Todo> todo_;
  std::vector<uint64_t>* changed_ = nullptr;
  uint64_t searched_ = 0;
};

}  // namespace fiberprof
