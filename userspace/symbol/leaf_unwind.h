// SPDX-License-Identifier: BSD-2-Clause
// Completes a frame-pointer walk that began in code without frame pointers, such as the C library: callers that the
// walk had to skip are found by unwind tables in a copy of the innermost part of the stack.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace fiberprof {

// Registers of a thread and the innermost part of its stack. Taken from the target: may hold anything.
struct LeafSnapshot {
  uint64_t ip = 0, sp = 0, fp = 0;
  uint64_t lr = 0;             // AArch64: the link register
  uint64_t from = 0;           // the frame record that the walk by frame pointers began with
  uint64_t guessed = 0;        // frames between ip and that record that were only looked for, not known
  std::vector<uint8_t> stack;  // from sp upwards
};

// How a caller's register is found.
struct RegisterRule {
  enum class Kind : uint8_t {
    same,       // not changed by this function
    undefined,  // cannot be recovered; of the return address: there is no caller
    memory,     // at the address
    value,      // is the number
    link,       // in the link register
    unknown,    // by a rule not understood here
  };
  // An address or number: the frame's base (CFA), or a register of this frame, plus an offset.
  enum class From : uint8_t { cfa, sp, fp };
  Kind kind = Kind::unknown;
  From from = From::cfa;
  int64_t offset = 0;
};

// Unwind rules at one instruction.
struct UnwindRow {
  RegisterRule::From cfa_from = RegisterRule::From::sp;  // sp or fp
  int64_t cfa_offset = 0;
  RegisterRule return_address, fp;
  bool signal_frame = false;  // its caller was interrupted: the return address is the instruction itself
};

// The rules at an address of the process; `is_return_address`: of the call before it. nullopt: none are known.
using FindUnwindRow = std::function<std::optional<UnwindRow>(uint64_t address, bool is_return_address)>;

// The whole stack: `chain` is what a walk by frame pointers gave, innermost first: leaf.ip, leaf.guessed frames, then
// one for each frame record from leaf.from on. What the unwind tables say replaces its inner end up to the last frame
// that both agree on. When they agree on none, the chain is returned as it is; only when it is nothing but the leaf do
// the unwound frames stand alone. Reads nothing outside of the snapshot; at most 64 steps.
std::vector<uint64_t> complete_stack(const LeafSnapshot& leaf, std::span<const uint64_t> chain,
                                     const FindUnwindRow& find);

}  // namespace fiberprof
