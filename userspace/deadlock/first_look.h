// SPDX-License-Identifier: BSD-2-Clause
// Which fibers of a process may never run again, as far as one look at each can tell: most cannot be, and of a million
// next to nothing need be remembered.
#pragma once

#include <cstdint>
#include <vector>

#include "deadlock/solver.h"
#include "deadlock/state.h"
#include "process/objects.h"

namespace fiberprof {

// Takes 32 bytes for each fiber that waits for what only certain others could do, and eight for any other. Whoever it
// leaves out lives, by identity alone; of the others nothing is known yet.
class FirstLook {
 public:
  FirstLook(RegistryView& view, ObjectReader& reader) : view_(view), reader_(reader), solver_(seen_, identity_) {}
  // To be called for every fiber.
  void add(const FiberInfo& info);
  // Those that are left, as they are now. Call once.
  std::vector<FiberInfo> left();

 private:
  static constexpr size_t kObjects = 4096;  // that are remembered
  struct Candidate {
    uint64_t id = 0, slot = 0;
    uint64_t depends = 0;   // id of the one fiber that could end its wait; 0: it is not so simple
    uint32_t switches = 0;  // the low bits
    enum class Known : uint8_t { no, in_work, lives, may_be_dead } known = Known::no;
  };
  bool stays_open(FiberState& fiber);
  void as_seen_once(uint64_t address);
  uint64_t depends_on(const FiberState& fiber) const;
  Candidate* candidate(uint64_t id);
  void follow(Candidate& first);

  RegistryView& view_;
  ObjectReader& reader_;
  State seen_;
  IdentityEvidence identity_;
  Solver solver_;
  std::vector<Candidate> candidates_;
  std::vector<uint64_t> others_;  // ids
  FiberState fiber_;
};

}  // namespace fiberprof
