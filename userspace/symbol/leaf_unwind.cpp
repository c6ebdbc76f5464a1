// SPDX-License-Identifier: BSD-2-Clause
#include "symbol/leaf_unwind.h"

#include <algorithm>
#include <cstring>

namespace fiberprof {
namespace {

constexpr size_t kMaxSteps = 64;

// One frame: where it is executing, and its registers.
struct Registers {
  uint64_t ip, sp, fp, lr;
};

std::optional<uint64_t> read_word(const LeafSnapshot& leaf, uint64_t address) {
  const uint64_t at = address - leaf.sp;
  if (address < leaf.sp || leaf.stack.size() < sizeof(uint64_t) || at > leaf.stack.size() - sizeof(uint64_t))
    return std::nullopt;
  uint64_t word;
  std::memcpy(&word, leaf.stack.data() + at, sizeof word);
  return word;
}

// A caller's frame as unwound. `location`: where its return address was read; 0: in a register.
struct Unwound {
  uint64_t address, location;
};

uint64_t base_of(RegisterRule::From from, const Registers& frame, uint64_t cfa) {
  switch (from) {
    case RegisterRule::From::cfa:
      return cfa;
    case RegisterRule::From::sp:
      return frame.sp;
    case RegisterRule::From::fp:
      return frame.fp;
  }
  return 0;
}

// The caller's value of a register whose value here is `same`; nullopt: cannot be known.
std::optional<uint64_t> recover(const RegisterRule& rule, const Registers& frame, uint64_t cfa, uint64_t same,
                                const LeafSnapshot& leaf) {
  const uint64_t number = base_of(rule.from, frame, cfa) + static_cast<uint64_t>(rule.offset);
  switch (rule.kind) {
    case RegisterRule::Kind::same:
      return same;
    case RegisterRule::Kind::link:
      return frame.lr;
    case RegisterRule::Kind::memory:
      return read_word(leaf, number);
    case RegisterRule::Kind::value:
      return number;
    case RegisterRule::Kind::undefined:
    case RegisterRule::Kind::unknown:
      return std::nullopt;
  }
  return std::nullopt;
}

std::vector<Unwound> unwind(const LeafSnapshot& leaf, const FindUnwindRow& find) {
  std::vector<Unwound> frames;
  Registers now{leaf.ip, leaf.sp, leaf.fp, leaf.lr};
  bool is_return_address = false;
  while (frames.size() < kMaxSteps) {
    const auto row = find(now.ip, is_return_address);
    if (!row) break;
    const uint64_t cfa = base_of(row->cfa_from, now, 0) + static_cast<uint64_t>(row->cfa_offset);
    // Stacks grow downwards: a caller's frame lies above. Only the leaf of AArch64 may have none of its own.
    if (row->cfa_from == RegisterRule::From::cfa || cfa < now.sp || (cfa == now.sp && !frames.empty())) break;
    const RegisterRule& rule = row->return_address;
    // Only a leaf, or a signal's frame, still has its return address in the link register.
    if ((rule.kind == RegisterRule::Kind::link || rule.kind == RegisterRule::Kind::same) && is_return_address) break;
    const auto return_address = recover(rule, now, cfa, now.lr, leaf);
    if (!return_address || *return_address == 0) break;
    const uint64_t location =
        rule.kind == RegisterRule::Kind::memory ? base_of(rule.from, now, cfa) + static_cast<uint64_t>(rule.offset) : 0;
    frames.push_back({*return_address, location});
    // A frame pointer that cannot be known ends the walk only where it is needed.
    now = {*return_address, cfa, recover(row->fp, now, cfa, now.fp, leaf).value_or(0), 0};
    is_return_address = !row->signal_frame;
  }
  return frames;
}

}  // namespace

std::vector<uint64_t> complete_stack(const LeafSnapshot& leaf, std::span<const uint64_t> chain,
                                     const FindUnwindRow& find) {
  std::vector<uint64_t> original(chain.begin(), chain.end());
  if (chain.empty() || chain[0] != leaf.ip) return original;
  const std::vector<Unwound> frames = unwind(leaf, find);

  // Both walks name the same frame when they read its return address at the same place. The last such frame is the
  // best: between two functions with frame pointers there may be more without.
  size_t from_tables = 0, from_chain = 0;
  uint64_t record = leaf.from;
  for (size_t i = 1 + std::min<uint64_t>(leaf.guessed, chain.size()), j = 0; i < chain.size(); ++i) {
    const uint64_t location = record + sizeof(uint64_t);
    while (j < frames.size() && frames[j].location < location) ++j;
    if (j == frames.size()) break;
    if (frames[j].location == location && frames[j].address == chain[i]) {
      from_tables = j + 1;
      from_chain = i + 1;
    }
    const auto next = read_word(leaf, record);
    if (!next || *next <= record) break;
    record = *next;
  }
  if (from_tables == 0) {
    if (chain.size() > 1 || frames.empty()) return original;
    from_tables = frames.size();
    from_chain = 1;
  }
  std::vector<uint64_t> whole{leaf.ip};
  for (size_t j = 0; j < from_tables; ++j) whole.push_back(frames[j].address);
  whole.insert(whole.end(), chain.begin() + static_cast<ptrdiff_t>(from_chain), chain.end());
  return whole;
}

}  // namespace fiberprof
