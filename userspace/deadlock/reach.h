// SPDX-License-Identifier: BSD-2-Clause
// What those who live can reach in memory: the evidence of a proof.
//
// A conservative search, as a garbage collector for C does it (Boehm): every byte may begin a pointer, and a pointer
// into something leads to all of it. It begins with what is reachable whatever happens: globals, thread-local
// variables, the stacks and registers of threads, epoll data, all memory whose blocks are not known; and with the stack
// of each fiber as soon as it lives. A word that is stale makes something count as reachable that is not, which costs a
// finding; no word is left out that the program could still use, for that would be a false one.
//
// What the runtime itself keeps about waits leads nowhere: queues of waiters, records of fibers. Else everything that
// waits for something reachable would be reachable.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "deadlock/heap.h"
#include "deadlock/image.h"
#include "deadlock/solver.h"

namespace fiberprof {

class ReachEvidence final : public Evidence {
 public:
  // All of them must outlive it. Searches what is reachable whatever happens.
  ReachEvidence(const State& state, const Image& image, const Heap& heap, const RegistryLayout& layout);

  bool has(Right right, uint64_t object) const override;
  int64_t tokens(uint64_t object, int64_t enough) const override;
  void revive(const FiberState& fiber, std::vector<uint64_t>& changed) override;
  uint64_t searched() const { return searched_; }  // bytes

 private:
  // Whose memory is being searched: what a word with the address of a channel may mean depends on it.
  struct Source {
    const FiberState* parked = nullptr;  // its stack: words there may belong to the operation it waits in
    bool running = false;                // a thread's registers and stack: any operation may be under way
  };
  struct Known {  // an object that somebody waits for
    uint64_t address = 0, size = 0;
    uint32_t kind = 0;
    uint8_t rights = 0;
    int64_t words = 0;             // that hold exactly its address
    std::ptrdiff_t chunk = -1;     // the block it lies in
    const Range* stack = nullptr;  // the stack it lies on
    bool opened = false;           // what it holds has been searched
  };

  void search(uint64_t start, uint64_t end, const Source& source);
  void bytes(std::span<const char> memory, const Source& source);
  void word(uint64_t value, const Source& source);
  void known_word(Known& known, uint64_t value, const Source& source);
  void gain(Known& known, uint8_t rights);
  void open(Known& known);
  void enter_chunk(std::ptrdiff_t index);
  void enter_stack(const Range& stack);
  void roots();
  const WorkerInfo* worker_on(const StoppedThread& thread) const;
  bool sleeps(const WorkerInfo* worker, const StoppedThread& thread) const;
  Range free_stack(const StoppedThread& thread) const;
  void work();
  // Searches a stretch of memory but for the heads of known objects, which lead to those who wait for them.
  void search_but_heads(uint64_t start, uint64_t end, const Source& source);
  Known* known_at(uint64_t address);
  const Known* find(uint64_t object) const;
  Range stack_part(const FiberInfo& fiber) const;

  const State& state_;
  const Image& image_;
  const Heap& heap_;
  const RegistryLayout& layout_;
  uint64_t object_size_ = 0, record_size_ = 0;
  fiberprof_field send_{}, receive_{}, cancel_{};
  std::vector<Known> known_;                             // ascending by address
  std::unordered_map<uint64_t, size_t> index_;           // in known_, by address
  std::unordered_set<uint64_t> nodes_;                   // waiters in queues
  std::unordered_map<uint64_t, size_t> fiber_of_stack_;  // by its lower end; index in State::fibers
  std::vector<char> entered_;                            // chunks
  std::unordered_set<uint64_t> entered_stacks_;
  std::unordered_map<std::ptrdiff_t, std::vector<size_t>> in_chunk_;
  std::unordered_map<uint64_t, std::vector<size_t>> on_stack_;
  struct Todo {
    uint64_t start = 0, end = 0;
    bool but_heads = false;              // of known objects
    const FiberState* parked = nullptr;  // whose stack it is
  };
  std::vector<Todo> todo_;
  std::vector<uint64_t>* changed_ = nullptr;
  // Which stretches of 2 MiB hold something that a word may lead to, by their numbers' low bits: nearly all words are
  // dismissed by one look at it.
  static constexpr int kStretchBits = 21, kTableBits = 19;
  std::vector<uint8_t> stretches_ = std::vector<uint8_t>(size_t{1} << kTableBits);
  uint64_t searched_ = 0;
};

}  // namespace fiberprof
