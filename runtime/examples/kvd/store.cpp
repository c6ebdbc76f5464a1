// SPDX-License-Identifier: BSD-2-Clause
#include "store.h"

#include <algorithm>

namespace kvd {

void Shard::index_expiry(KeyTable::Node& node, Milliseconds expires) {
  Entry& entry = node.entry;
  if (entry.expires == expires) return;
  if (entry.expires != kNever) by_expiry_.erase({entry.expires, node.key()});
  if (expires != kNever) by_expiry_.emplace(expires, node.key());
  entry.expires = expires;
}

void Shard::remove(KeyTable::Node* node) {
  if (node->entry.expires != kNever) by_expiry_.erase({node->entry.expires, node->key()});
  entries_.erase(node);
}

Entry* Shard::find(const HashedKey& key, Milliseconds now) {
  KeyTable::Node* node = entries_.find(key);
  if (node == nullptr) return nullptr;
  if (node->entry.expires != kNever && node->entry.expires <= now) {
    remove(node);
    return nullptr;
  }
  return &node->entry;
}

void Shard::set(const HashedKey& key, std::string_view value, Milliseconds expires) {
  KeyTable::Node* node = entries_.find(key);
  if (node == nullptr) {
    node = &entries_.insert(key);
  } else if (node->entry.value.capacity() > 4 * value.size() + 64) {
    node->entry.value = std::string();  // a small value must not keep the memory of a large one
  }
  node->entry.value.assign(value);
  index_expiry(*node, expires);
}

bool Shard::erase(const HashedKey& key, Milliseconds now) {
  if (find(key, now) == nullptr) return false;
  remove(entries_.find(key));
  return true;
}

void Shard::set_expiry(const HashedKey& key, Milliseconds expires) {
  if (KeyTable::Node* node = entries_.find(key)) index_expiry(*node, expires);
}

std::size_t Shard::remove_expired(Milliseconds now, std::size_t limit) {
  std::size_t removed = 0;
  while (removed < limit && !by_expiry_.empty() && by_expiry_.begin()->first <= now) {
    remove(entries_.find(Store::hash(by_expiry_.begin()->second)));
    ++removed;
  }
  return removed;
}

Store::Store(unsigned shards) : shards_(std::max(shards, 1u)) {}

Store::LockedSet::LockedSet(Store& store, std::vector<unsigned> sorted) : store_(&store), indices_(std::move(sorted)) {
  for (const unsigned index : indices_) store_->shards_[index].mutex_.lock();
}

Store::LockedSet::~LockedSet() {
  for (const unsigned index : indices_) store_->shards_[index].mutex_.unlock();
}

Store::LockedSet Store::lock_all(std::span<const std::string_view> keys, std::size_t stride) {
  std::vector<unsigned> indices;
  indices.reserve(std::min(keys.size() / stride + 1, shards_.size()));
  if (keys.size() / stride >= 4 * shards_.size()) {
    // So many keys that they surely touch nearly all.
    for (unsigned i = 0; i < shards_.size(); ++i) indices.push_back(i);
  } else {
    for (std::size_t i = 0; i < keys.size(); i += stride) indices.push_back(shard_index(hash(keys[i])));
    std::sort(indices.begin(), indices.end());
    indices.erase(std::unique(indices.begin(), indices.end()), indices.end());
  }
  return LockedSet(*this, std::move(indices));
}

void Store::clear(const std::function<void()>& while_locked) {
  // The old maps are taken out and destroyed after the locks are released: that takes long when they are large.
  std::deque<std::pair<KeyTable, decltype(Shard::by_expiry_)>> old(shards_.size());
  std::vector<unsigned> indices;
  for (unsigned i = 0; i < shards_.size(); ++i) indices.push_back(i);
  const LockedSet all(*this, std::move(indices));
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    std::swap(old[i].first, shards_[i].entries_);
    old[i].second.swap(shards_[i].by_expiry_);
  }
  while_locked();
}

std::size_t Store::size() {
  std::size_t sum = 0;
  for (Shard& shard : shards_) sum += Locked(shard)->size();
  return sum;
}

std::size_t Store::with_expiry() {
  std::size_t sum = 0;
  for (Shard& shard : shards_) sum += Locked(shard)->with_expiry();
  return sum;
}

std::size_t Store::remove_expired(Milliseconds now) {
  constexpr std::size_t kAtOnce = 64;  // about 20 us under the lock
  std::size_t removed = 0;
  for (Shard& shard : shards_) {
    std::size_t some = 0;
    do {
      some = Locked(shard)->remove_expired(now, kAtOnce);
      removed += some;
    } while (some == kAtOnce);
  }
  return removed;
}

}  // namespace kvd
