// SPDX-License-Identifier: BSD-2-Clause
// Small programs attached to this very process, to learn what the kernel allows and costs.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "support/error.h"

namespace fiberprof {

// File offset of an address in this program's own binary.
std::optional<uint64_t> own_file_offset(uint64_t address);

enum class CalibrationProgram : uint8_t {
  empty,
  walk,  // takes the user stack with bpf_get_stack, and nothing else
};

// A place in a program file to attach to.
struct CalibrationSite {
  std::string path;
  uint64_t offset = 0;            // of the instruction in the file
  uint64_t semaphore_offset = 0;  // 0: none
  int pid = 0;                    // which process; 0: this one
};

class Calibration {
 public:
  // Loads the programs. Errors: no privilege, no BTF, refused by the kernel.
  static Result<Calibration> open();
  // Attaches to the instruction at `address` of this process, until this object ends.
  Result<void> attach(uint64_t address, CalibrationProgram program = CalibrationProgram::empty);
  Result<void> attach(const CalibrationSite& site, CalibrationProgram program);
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
