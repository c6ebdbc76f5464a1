// SPDX-License-Identifier: BSD-2-Clause
// Small programs attached to this very process, to learn what the kernel allows and costs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "support/error.h"

namespace fiberprof {

// File offset of an address in this program's own binary.
std::optional<uint64_t> own_file_offset(uint64_t address);

class Calibration {
 public:
  // Loads the programs. Errors: no privilege, no BTF, refused by the kernel.
  static Result<Calibration> open();
  // Attaches an empty program to the instruction at `address` of this process, until this object ends.
  Result<void> attach(uint64_t address);
  // Attaches to tp_btf/sched_switch, sleeps once and tells whether the program ran.
  Result<bool> switches_seen();

  // How deep this process's pid namespace is nested; 0: it is the initial one.
  Result<uint32_t> pid_level();

  Calibration(Calibration&&) noexcept;
  Calibration& operator=(Calibration&&) noexcept;
  ~Calibration();

 private:
  struct State;
  explicit Calibration(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace fiberprof
