// SPDX-License-Identifier: BSD-2-Clause
// Who will never run again: the complement of the least set of fibers that is closed under "somebody in it, or
// something outside the program, can end this wait".
//
// The rules are monotone: evidence, once there, makes fibers live and never the opposite. So a worklist reaches the
// unique least fixpoint, whatever the order. After GOLF (Saioc et al., ASPLOS 2025), with owners, typed rights and
// wait groups added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "deadlock/state.h"

namespace fiberprof {

// What somebody may do to an object. touch: reach it at all; token: be one of those a wait group waits for.
enum class Right : uint8_t { send = 1, receive = 2, cancel = 4, touch = 8, token = 16 };

// Says what those who live can reach. Everything it says may only grow.
class Evidence {
 public:
  virtual ~Evidence() = default;
  virtual bool has(Right right, uint64_t object) const = 0;
  // How many words that may be tokens of that wait group are within reach; at least `enough` if it cannot say.
  virtual int64_t tokens(uint64_t object, int64_t enough) const = 0;
  // That fiber lives. Adds the addresses of objects that more may be done to now.
  virtual void revive(const FiberState& fiber, std::vector<uint64_t>& changed) = 0;
};

// Looks at no memory: whatever can be reached through memory is taken to be reached.
class IdentityEvidence final : public Evidence {
 public:
  bool has(Right, uint64_t) const override { return true; }
  int64_t tokens(uint64_t, int64_t enough) const override { return enough; }
  void revive(const FiberState&, std::vector<uint64_t>&) override {}
};

// Why a fiber can wait on: one of whom (or of what) it waits for.
struct Enabler {
  uint64_t fiber = 0;   // id; 0: nobody
  uint64_t object = 0;  // address; 0: none, a join
};

class Solver {
 public:
  Solver(const State& state, Evidence& evidence);
  // Whether something may end that wait although no fiber lives; before dead() is called.
  bool stays_open(const FiberState& fiber) const { return alive(fiber); }
  // Indices of the fibers that will never run again, ascending. Call once.
  std::vector<size_t> dead();
  // Of a dead fiber: those dead fibers whose turn it would be to end its wait, by identity (owner, readers, the writer
  // in front, runner, joined). None: a leak, or an orphan.
  std::vector<Enabler> enablers(size_t fiber) const;

 private:
  bool alive(const FiberState& fiber) const;
  bool can_end(const FiberState& fiber, const Alternative& wait) const;
  bool lives(uint64_t owner) const;
  bool cancellable(uint64_t context) const;
  bool writer_in_front_lives(const FiberState& reader, const ObjectState& lock) const;
  const ObjectState* object(uint64_t address) const;
  void depend(size_t fiber);
  void make_live(size_t fiber);
  std::vector<uint64_t> holders(uint64_t lock) const;  // ids of those who hold it for reading

  const State& state_;
  Evidence& evidence_;
  std::vector<char> live_;
  std::vector<size_t> todo_;
  std::unordered_map<uint64_t, std::vector<size_t>> on_fiber_;   // who may be helped by that fiber's life
  std::unordered_map<uint64_t, std::vector<size_t>> on_object_;  // who may be helped by more rights to that object
  std::unordered_map<uint64_t, std::vector<uint64_t>> readers_;  // of a rwlock: ids, one for each hold
};

}  // namespace fiberprof
