// SPDX-License-Identifier: BSD-2-Clause
// Stacks as `top` shows them: symbolized once each, and every frame kept once however many stacks have it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "session/session_stacks.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

// Frames to show of a user stack; the second argument is the innermost address first, as in Snapshot::stacks.
using Symbolize = std::function<std::vector<Frame>(uint32_t pid, const std::vector<uint64_t>& addresses)>;

using FrameList = std::vector<std::shared_ptr<const Frame>>;  // innermost first

struct ShownStack {
  uint32_t id = 0;  // from 1 on; stacks that read the same are one: two calls on one line, two copies of a function
  FrameList frames;
  size_t culprit = 0;    // index into `frames` of the program's function next to the wait
  std::string function;  // the program's function next to the wait; empty: the stack has none
  std::string site;      // the program's outermost function, as fiber_of() of a recording; empty: there is no stack
};

// Not thread-safe. What has been given out stays valid.
class ShownStacks {
 public:
  // Never null. A stack that is not in the table reads as an empty one.
  const std::shared_ptr<const ShownStack>& of(uint32_t pid, StackId id, const SessionStacks& stacks,
                                              const Symbolize& symbolize);
  // True: very many are known, and their memory has been given back, to be filled anew. The same stack is another
  // object from then on.
  bool tidy();

 private:
  struct Key {
    uint32_t pid;
    StackId id;
    bool operator==(const Key&) const = default;
  };
  struct Hash {
    size_t operator()(const Key& key) const {
      return key.id ^ uint64_t { key.pid } * 0x9e3779b97f4a7c15u;
    }
  };
  std::shared_ptr<const ShownStack> make(std::vector<Frame> frames);

  std::unordered_map<Key, std::shared_ptr<const ShownStack>, Hash> known_;
  std::unordered_multimap<size_t, std::shared_ptr<const ShownStack>> by_text_;  // by a hash of it
  std::unordered_multimap<uint64_t, std::shared_ptr<const Frame>> frames_;      // by address
  uint32_t last_id_ = 0;
};

}  // namespace fiberprof
