// SPDX-License-Identifier: BSD-2-Clause
#include "store.h"

#include <algorithm>

namespace kvd {

void Shard::index_expiry(Map::iterator at, Milliseconds expires) {
  Entry& entry = at->second;
  if (entry.expires == expires) return;
  if (entry.expires != kNever) by_expiry_.erase({entry.expires, at->first});
  if (expires != kNever) by_expiry_.emplace(expires, at->first);
  entry.expires = expires;
}

void Shard::remove(Map::iterator at) {
  if (at->second.expires != kNever) by_expiry_.erase({at->second.expires, at->first});
  entries_.erase(at);
}

Entry* Shard::find(const HashedKey& key, Milliseconds now) {
  const auto at = entries_.find(key);
  if (at == entries_.end()) return nullptr;
  if (at->second.expires != kNever && at->second.expires <= now) {
    remove(at);
    return nullptr;
  }
  return &at->second;
}

void Shard::set(const HashedKey& key, std::string_view value, Milliseconds expires) {
  auto at = entries_.find(key);
  if (at == entries_.end()) {
    at = entries_.try_emplace(std::string(key.text)).first;
  } else if (at->second.value.capacity() > 4 * value.size() + 64) {
    at->second.value = std::string();  // a small value must not keep the memory of a large one
  }
  at->second.value.assign(value);
  index_expiry(at, expires);
}

bool Shard::erase(const HashedKey& key, Milliseconds now) {
  if (find(key, now) == nullptr) return false;
  remove(entries_.find(key));
  return true;
}

void Shard::set_expiry(const HashedKey& key, Milliseconds expires) {
  const auto at = entries_.find(key);
  if (at != entries_.end()) index_expiry(at, expires);
}

std::size_t Shard::remove_expired(Milliseconds now, std::size_t limit) {
  std::size_t removed = 0;
  while (removed < limit && !by_expiry_.empty() && by_expiry_.begin()->first <= now) {
    remove(entries_.find(by_expiry_.begin()->second));
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
  std::deque<std::pair<Shard::Map, decltype(Shard::by_expiry_)>> old(shards_.size());
  std::vector<unsigned> indices;
  for (unsigned i = 0; i < shards_.size(); ++i) indices.push_back(i);
  const LockedSet all(*this, std::move(indices));
  for (std::size_t i = 0; i < shards_.size(); ++i) {
    old[i].first.swap(shards_[i].entries_);
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
