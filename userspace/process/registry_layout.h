// SPDX-License-Identifier: BSD-2-Clause
// The target's own description of its registry structures (include/fiberprof/registry.h), checked once, so that
// reading a field afterwards needs no further check.
#pragma once

#include <fiberprof/registry.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <string>

#include "support/error.h"

namespace fiberprof {

// Bounds on what a process may claim: far above what a real runtime needs, and low enough that the worst lie costs a
// second or two of reading and no memory to speak of.
inline constexpr uint32_t kMaxStructSize = 16'384;
inline constexpr uint32_t kMaxProcessors = 16'384;
inline constexpr uint32_t kMaxWorkers = 65'536;
inline constexpr uint64_t kMaxSlots = 16ULL << 20;     // fiber slots
inline constexpr uint64_t kMaxSlotBytes = 4ULL << 30;  // all of them together

class RegistryLayout {
 public:
  // `bytes` starts with the header of the registry as read from the target; `size` of it are there.
  // Errors, as reasons only: magic, version, or numbers that cannot be.
  static Result<RegistryLayout> parse(const char* bytes, size_t size);

  // The head with counts and addresses as they were when it was read; `fields` in it is not to be used.
  fiberprof_registry head{};

  bool has(fiberprof_field_index field) const { return fields_[field].size != 0; }
  // Value of an integer field of a structure read into `bytes`; 0 when it is not there.
  uint64_t number(const char* bytes, fiberprof_field_index field) const {
    const auto [offset, size] = fields_[field];
    uint64_t value = 0;
    if (size <= sizeof value) std::memcpy(&value, bytes + offset, size);  // little-endian on every supported machine
    return value;
  }
  fiberprof_field where(fiberprof_field_index field) const { return fields_[field]; }
  // A text field, up to its final zero.
  std::string text(const char* bytes, fiberprof_field_index field) const;

 private:
  std::array<fiberprof_field, FIBERPROF_FIELD_COUNT> fields_{};
};

}  // namespace fiberprof
