// SPDX-License-Identifier: BSD-2-Clause
// A hash table from keys to entries, made for few cache misses: a node holds hash, entry and the key's own text, so a
// look-up touches a bucket and one node. (With std::unordered_map, whose nodes hold a std::string, the four misses of a
// look-up among 100,000 keys were two fifths of the server's time under a pipeline of GETs.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "clock.h"

namespace kvd {

// A key with its hash, which picks the shard first and the bucket then.
struct HashedKey {
  std::string_view text;
  std::size_t hash;
};

struct Entry {
  std::string value;
  Milliseconds expires = kNever;
};

// Nodes never move, and neither does the text of their keys. Not synchronised.
class KeyTable {
 public:
  class Node {
   public:
    std::string_view key() const { return {text(), length_}; }
    Entry entry;

   private:
    friend class KeyTable;
    Node(const HashedKey& key, Node* next) : next_(next), hash_(key.hash), length_(key.text.size()) {
      std::memcpy(text(), key.text.data(), length_);
    }
    bool is(const HashedKey& key) const { return hash_ == key.hash && this->key() == key.text; }
    // Behind the node, in the same allocation.
    char* text() { return reinterpret_cast<char*>(this + 1); }
    const char* text() const { return reinterpret_cast<const char*>(this + 1); }

    Node* next_;
    std::size_t hash_;
    std::size_t length_;
  };

  KeyTable() = default;
  KeyTable(KeyTable&& other) noexcept { swap(other); }
  KeyTable& operator=(KeyTable other) noexcept {
    swap(other);
    return *this;
  }
  ~KeyTable() {
    for (std::size_t i = 0; i < buckets(); ++i) {
      for (Node* node = heads_[i]; node != nullptr;) destroy(std::exchange(node, node->next_));
    }
  }

  std::size_t size() const { return size_; }

  Node* find(const HashedKey& key) const {
    if (heads_ == nullptr) return nullptr;
    Node* node = heads_[key.hash & mask_];
    while (node != nullptr && !node->is(key)) node = node->next_;
    return node;
  }
  // For a key that is not there yet.
  Node& insert(const HashedKey& key) {
    if (size_ >= buckets()) grow();
    Node*& head = heads_[key.hash & mask_];
    void* memory = ::operator new(sizeof(Node) + key.text.size());
    head = new (memory) Node(key, head);
    ++size_;
    return *head;
  }
  void erase(Node* node) {
    Node** link = &heads_[node->hash_ & mask_];
    while (*link != node) link = &(*link)->next_;
    *link = node->next_;
    --size_;
    destroy(node);
  }

  // Calls visit(node) for each, in no order. It must not change the table.
  template <class Visit>
  void for_each(Visit visit) const {
    for (std::size_t i = 0; i < buckets(); ++i) {
      for (const Node* node = heads_[i]; node != nullptr; node = node->next_) visit(*node);
    }
  }

 private:
  static void destroy(Node* node) {
    node->~Node();
    ::operator delete(node);
  }
  void swap(KeyTable& other) noexcept {
    std::swap(heads_, other.heads_);
    std::swap(mask_, other.mask_);
    std::swap(size_, other.size_);
  }
  std::size_t buckets() const { return heads_ == nullptr ? 0 : mask_ + 1; }
  void grow() {
    const std::size_t larger = heads_ == nullptr ? 16 : 2 * (mask_ + 1);
    auto heads = std::make_unique<Node*[]>(larger);
    for (std::size_t i = 0; i < buckets(); ++i) {
      for (Node* node = heads_[i]; node != nullptr;) {
        Node* moved = std::exchange(node, node->next_);
        moved->next_ = std::exchange(heads[moved->hash_ & (larger - 1)], moved);
      }
    }
    heads_ = std::move(heads);
    mask_ = larger - 1;
  }

  std::unique_ptr<Node*[]> heads_;  // a power of two of them
  std::size_t mask_ = 0;
  std::size_t size_ = 0;
};

}  // namespace kvd
