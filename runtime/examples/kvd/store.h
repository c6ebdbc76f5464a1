// SPDX-License-Identifier: BSD-2-Clause
// The data: a hash map cut into shards, each under its own fiber mutex.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <set>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "clock.h"
#include "fiber/sync.h"
#include "key_table.h"

namespace kvd {

// One shard. All functions need its lock; get at shards through Store::lock.
class Shard {
 public:
  // The entry, or nullptr. One whose time is over by `now` is removed first. Valid until the next change of the shard.
  Entry* find(const HashedKey& key, Milliseconds now);
  // Sets value and expiry, whatever was there.
  void set(const HashedKey& key, std::string_view value, Milliseconds expires);
  // False when there was none.
  bool erase(const HashedKey& key, Milliseconds now);
  // Changes the expiry of a key that find() has just found; kNever takes it away.
  void set_expiry(const HashedKey& key, Milliseconds expires);
  // Removes at most `limit` entries whose time is over; returns how many.
  std::size_t remove_expired(Milliseconds now, std::size_t limit);

  std::size_t size() const { return entries_.size(); }
  std::size_t with_expiry() const { return by_expiry_.size(); }
  // Calls visit(key, entry) for every entry whose time is not over.
  template <class Visit>
  void for_each(Milliseconds now, Visit visit) const {
    entries_.for_each([&](const KeyTable::Node& node) {
      if (node.entry.expires == kNever || node.entry.expires > now) visit(node.key(), node.entry);
    });
  }

 private:
  friend class Store;
  void index_expiry(KeyTable::Node& node, Milliseconds expires);
  void remove(KeyTable::Node* node);

  fiber::Mutex mutex_;
  KeyTable entries_;
  // Every key that expires, soonest first. The views point to keys in the table, which never move.
  std::set<std::pair<Milliseconds, std::string_view>> by_expiry_;
};

// All shards. Fibers only.
class Store {
 public:
  static constexpr unsigned kDefaultShards = 64;
  explicit Store(unsigned shards = kDefaultShards);

  static HashedKey hash(std::string_view key) { return {key, std::hash<std::string_view>{}(key)}; }
  Shard& shard_of(const HashedKey& key) { return shards_[shard_index(key)]; }

  // The lock on one shard. Waits for its mutex.
  class Locked {
   public:
    explicit Locked(Shard& shard) : lock_(shard.mutex_), shard_(&shard) {}
    Shard* operator->() const { return shard_; }
    Shard& operator*() const { return *shard_; }

   private:
    std::unique_lock<fiber::Mutex> lock_;
    Shard* shard_;
  };
  Locked lock(const HashedKey& key) { return Locked(shard_of(key)); }
  Locked lock_shard(std::size_t index) { return Locked(shards_[index]); }

  // The locks on all shards that hold one of the keys (every `stride`-th argument is a key), taken in the order of the
  // shards, so that two such sets never wait for each other.
  class LockedSet {
   public:
    LockedSet(Store& store, std::vector<unsigned> sorted);
    LockedSet(LockedSet&&) = default;
    ~LockedSet();
    Shard& operator[](const HashedKey& key) const { return store_->shard_of(key); }

   private:
    Store* store_;
    std::vector<unsigned> indices_;
  };
  LockedSet lock_all(std::span<const std::string_view> keys, std::size_t stride = 1);

  // Removes everything as of one moment: runs `while_locked` under all locks.
  void clear(const std::function<void()>& while_locked);

  // Sums over the shards, each as of the moment it was looked at.
  std::size_t size();
  std::size_t with_expiry();
  std::size_t shards() const { return shards_.size(); }
  // Removes entries whose time is over from all shards, a bounded number under each hold of a lock.
  std::size_t remove_expired(Milliseconds now);

 private:
  unsigned shard_index(const HashedKey& key) const {
    // The upper half of the hash picks the shard; the buckets inside depend on all of it.
    return static_cast<unsigned>(((key.hash >> 32) * shards_.size()) >> 32);
  }
  std::deque<Shard> shards_;
};

}  // namespace kvd
