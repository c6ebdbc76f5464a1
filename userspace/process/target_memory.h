// SPDX-License-Identifier: BSD-2-Clause
// Memory of the process under observation. Reading never stops or changes it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "support/error.h"

namespace fiberprof {

// What can be said of a failed read.
enum class ReadStatus : uint8_t { ok, fault, gone, not_permitted };

// One of several reads: `size` bytes from `address` to `out`.
struct MemoryRange {
  uint64_t address = 0;
  size_t size = 0;
  char* out = nullptr;
  bool ok = false;  // whether it was filled whole
};

class TargetMemory {
 public:
  virtual ~TargetMemory() = default;

  // Fills `out` whole from `address`, or says why not (the content of `out` is then unspecified).
  virtual ReadStatus read(uint64_t address, std::span<char> out) = 0;

  // Reads `size` bytes from each address into consecutive parts of `out` (addresses.size() * size bytes). One call to
  // the system for up to 1,024 of them. ok[i] says whether part i is filled.
  ReadStatus read_many(std::span<const uint64_t> addresses, size_t size, char* out, bool* ok);

  // The same for reads of several sizes, to where each of them says.
  virtual ReadStatus read_ranges(std::span<MemoryRange> ranges);

  // How messages name it: "process 12 (kvd)".
  virtual std::string label() const = 0;

  template <class T>
  ReadStatus read_value(uint64_t address, T& value) {
    return read(address, {reinterpret_cast<char*>(&value), sizeof value});
  }
};

// A live process, by process_vm_readv. No error here: the first read tells.
std::unique_ptr<TargetMemory> live_memory(uint32_t pid);

}  // namespace fiberprof
