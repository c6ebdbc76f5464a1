// SPDX-License-Identifier: BSD-2-Clause
// The stacks of a session, each kept once and shared by all its snapshots.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "symbol/leaf_unwind.h"

namespace fiberprof {

using StackId = uint64_t;  // 0: no stack was taken

// A copy is the same table: what is added to one is in the other, for a stack never changes. Only erase() makes two of
// them. Not thread-safe.
class SessionStacks {
 public:
  using Addresses = std::vector<uint64_t>;  // innermost first

  SessionStacks() : stacks_(std::make_shared<Stacks>()) {}
  SessionStacks(std::initializer_list<std::pair<StackId, Addresses>> stacks) : SessionStacks() {
    for (const auto& [id, addresses] : stacks) add(id, addresses, nullptr);
  }

  // Null: not known. Valid until complete().
  const Addresses* find(StackId id) const {
    const auto at = stacks_->find(id);
    return at == stacks_->end() ? nullptr : &at->second->addresses;
  }
  bool contains(StackId id) const { return stacks_->count(id) != 0; }
  const Addresses& at(StackId id) const { return stacks_->at(id)->addresses; }
  size_t size() const { return stacks_->size(); }

  // `leaf`: what its inner end is completed with, or null.
  void add(StackId id, Addresses addresses, std::unique_ptr<const LeafSnapshot> leaf) {
    stacks_->try_emplace(id, std::make_shared<Stack>(Stack{std::move(addresses), std::move(leaf), false}));
  }

  // Puts make(addresses, leaf) in the place of a stack's addresses, the first time it is called for it.
  template <class Make>
  void complete(StackId id, const Make& make) {
    const auto at = stacks_->find(id);
    if (at == stacks_->end() || at->second->complete) return;
    Stack& stack = *at->second;
    stack.addresses = make(stack.addresses, stack.leaf.get());
    stack.leaf.reset();
    stack.complete = true;
  }

  // Copies made before keep them.
  template <class Ids>
  void erase(const Ids& ids) {
    stacks_ = std::make_shared<Stacks>(*stacks_);
    for (const StackId id : ids) stacks_->erase(id);
  }

 private:
  struct Stack {
    Addresses addresses;
    std::unique_ptr<const LeafSnapshot> leaf;
    bool complete = false;
  };
  using Stacks = std::unordered_map<StackId, std::shared_ptr<Stack>>;
  std::shared_ptr<Stacks> stacks_;
};

}  // namespace fiberprof
