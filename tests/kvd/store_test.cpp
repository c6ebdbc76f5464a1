// SPDX-License-Identifier: BSD-2-Clause
#include "kvd/store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "fiber/fiber.h"
#include "kvd/in_fiber.h"

namespace kvd {
namespace {

constexpr Milliseconds kNow = 1'000'000;

void set(Store& store, std::string_view key, std::string_view value, Milliseconds expires = kNever) {
  const HashedKey hashed = Store::hash(key);
  store.lock(hashed)->set(hashed, value, expires);
}

std::string get(Store& store, std::string_view key, Milliseconds now = kNow) {
  const HashedKey hashed = Store::hash(key);
  const auto shard = store.lock(hashed);
  const Entry* entry = shard->find(hashed, now);
  return entry == nullptr ? "(none)" : entry->value;
}

TEST(Store, HoldsWhatWasSet) {
  in_fiber([] {
    Store store(7);
    for (int i = 0; i < 1000; ++i) set(store, "key" + std::to_string(i), std::to_string(i * i));
    for (int i = 0; i < 1000; i += 2) {
      const std::string text = "key" + std::to_string(i);
      const HashedKey key = Store::hash(text);
      EXPECT_TRUE(store.lock(key)->erase(key, kNow));
      EXPECT_FALSE(store.lock(key)->erase(key, kNow));
    }
    EXPECT_EQ(store.size(), 500u);
    EXPECT_EQ(get(store, "key4"), "(none)");
    EXPECT_EQ(get(store, "key5"), "25");
    set(store, "key5", std::string("with\0zero", 9));
    EXPECT_EQ(get(store, "key5"), std::string("with\0zero", 9));
    EXPECT_EQ(store.size(), 500u);
  });
}

TEST(Store, KeysSpreadOverTheShards) {
  in_fiber([] {
    Store store(16);
    for (int i = 0; i < 16000; ++i) set(store, "key:" + std::to_string(i), "");
    for (std::size_t i = 0; i < store.shards(); ++i) {
      const std::size_t size = store.lock_shard(i)->size();
      EXPECT_GT(size, 800u) << i;  // 1000 expected, standard deviation 31
      EXPECT_LT(size, 1200u) << i;
    }
  });
}

TEST(Store, ExpiredEntriesAreGoneForReadersAtOnce) {
  in_fiber([] {
    Store store(1);
    set(store, "k", "v", kNow + 10);
    EXPECT_EQ(get(store, "k", kNow + 9), "v");
    EXPECT_EQ(store.with_expiry(), 1u);
    EXPECT_EQ(get(store, "k", kNow + 10), "(none)");
    EXPECT_EQ(store.size(), 0u);
    EXPECT_EQ(store.with_expiry(), 0u);
  });
}

TEST(Store, ExpiryFollowsEveryChange) {
  in_fiber([] {
    Store store(1);
    set(store, "a", "1", kNow + 10);
    set(store, "a", "2", kNow + 20);  // later
    set(store, "b", "1", kNow + 20);
    set(store, "b", "2");  // never
    set(store, "c", "1", kNow + 5);
    const HashedKey c = Store::hash("c");
    store.lock(c)->set_expiry(c, kNow + 30);
    set(store, "d", "1", kNow + 1);
    const HashedKey d = Store::hash("d");
    EXPECT_TRUE(store.lock(d)->erase(d, kNow));
    EXPECT_EQ(store.with_expiry(), 2u);
    EXPECT_EQ(store.remove_expired(kNow + 19), 0u);
    EXPECT_EQ(store.remove_expired(kNow + 20), 1u);
    EXPECT_EQ(get(store, "a", kNow), "(none)");
    EXPECT_EQ(store.remove_expired(kNow + 30), 1u);
    EXPECT_EQ(get(store, "b", kNow + 1000), "2");
  });
}

TEST(Store, RemovesManyExpired) {
  in_fiber([] {
    Store store(3);
    for (int i = 0; i < 5000; ++i) set(store, std::to_string(i), "v", kNow + i);
    EXPECT_EQ(store.remove_expired(kNow + 999), 1000u);
    EXPECT_EQ(store.size(), 4000u);
    EXPECT_EQ(store.remove_expired(kNow + 5000), 4000u);
    EXPECT_EQ(store.size(), 0u);
  });
}

TEST(Store, ClearTakesEverything) {
  in_fiber([] {
    Store store(5);
    for (int i = 0; i < 100; ++i) set(store, std::to_string(i), "v", i % 2 == 0 ? kNow : kNever);
    bool called = false;
    store.clear([&] { called = true; });
    EXPECT_TRUE(called);
    EXPECT_EQ(store.size(), 0u);
    EXPECT_EQ(store.with_expiry(), 0u);
    set(store, "again", "v");
    EXPECT_EQ(get(store, "again"), "v");
  });
}

// Sets of keys in opposite orders, on all processors: with locks taken in the order of the keys this would deadlock.
TEST(Store, SetsOfKeysDoNotDeadlockAndAreAtomic) {
  in_fiber([] {
    Store store(8);
    const std::vector<std::string_view> there = {"a", "b", "c", "d", "e"}, back = {"e", "d", "c", "b", "a"};
    fiber::WaitGroup done(4);
    bool torn = false;
    for (int f = 0; f < 4; ++f) {
      fiber::go([&, f] {
        const auto& keys = f % 2 == 0 ? there : back;
        for (int i = 0; i < 2000; ++i) {
          const auto shards = store.lock_all(keys);
          const Entry* first = shards[Store::hash("a")].find(Store::hash("a"), kNow);
          const std::string before = first == nullptr ? "" : first->value;
          for (const std::string_view key : keys) {
            const Entry* entry = shards[Store::hash(key)].find(Store::hash(key), kNow);
            if ((entry == nullptr ? "" : entry->value) != before) torn = true;
          }
          const std::string value = std::to_string(f * 10000 + i);
          for (const std::string_view key : keys) shards[Store::hash(key)].set(Store::hash(key), value, kNever);
        }
        done.done();
      });
    }
    done.wait();
    EXPECT_FALSE(torn);
  });
}

TEST(Store, LockAllWithAStrideTakesOnlyKeys) {
  in_fiber([] {
    Store store(4);
    std::vector<std::string> words;
    for (int i = 0; i < 200; ++i) words.push_back(std::to_string(i));
    std::vector<std::string_view> pairs(words.begin(), words.end());
    {
      const auto shards = store.lock_all(pairs, 2);
      for (std::size_t i = 0; i < pairs.size(); i += 2) {
        shards[Store::hash(pairs[i])].set(Store::hash(pairs[i]), pairs[i + 1], kNever);
      }
    }
    EXPECT_EQ(store.size(), 100u);
    EXPECT_EQ(get(store, "198"), "199");
    EXPECT_EQ(get(store, "199"), "(none)");
  });
}

}  // namespace
}  // namespace kvd
