// SPDX-License-Identifier: BSD-2-Clause
// Locks taken in different orders.
#include <map>
#include <string>

#include "goker/kernels/kernel.h"

namespace goker {

namespace {

// A visits all replicas, each with its own mutex, under the store's; B, under a replica's, asks for the store's.
void cockroach_10214(bool fixed) {
  struct Replica {
    fiber::Mutex mutex;
    bool quiescent = false;
  };
  struct Store {
    fiber::Mutex coalesced;
    fiber::Mutex ticks;
    std::vector<int> beats;
    Replica replicas[2];
    std::atomic<bool> sending{false}, ticking{false};

    void send_beats(bool unlocks_first) {
      coalesced.lock();
      sending = true;
      until([this] { return ticking.load(); });
      beats.clear();
      if (unlocks_first) coalesced.unlock();
      for (Replica& replica : replicas) {
        std::lock_guard guard(replica.mutex);
        replica.quiescent = true;
      }
      if (!unlocks_first) coalesced.unlock();
    }
    void tick(Replica& replica) {
      std::lock_guard guard(replica.mutex);
      ticking = true;
      until([this] { return sending.load(); });
      std::lock_guard tick_guard(ticks);
      if (replica.quiescent) return;
      std::lock_guard beats_guard(coalesced);
      beats.push_back(1);
    }
  };
  auto store = std::make_shared<Store>();
  fiber::go({.name = "A"}, [fixed, store] { store->send_beats(fixed); });
  fiber::go({.name = "B"}, [store] { store->tick(store->replicas[0]); });
}
const Registration r10214({"cockroach_10214", "resource", "id", "A,B", "A,B", cockroach_10214, 21});

// Counting words runs a once that waits a millisecond for a renderer; the renderer holds the content's mutex and counts
// words of the same page; a second once locks the content's mutex.
void hugo_5379(bool fixed) {
  struct Page : std::enable_shared_from_this<Page> {
    fiber::Mutex content;
    fiber::Once prepared, counted;
    int words = 0;
    std::atomic<bool> rendering{false};

    void render(fiber::Sender<int> result, bool counts_first) {
      if (counts_first) word_count(true);
      std::unique_lock guard(content);
      rendering = true;
      if (!counts_first) word_count(false);
      result.send(++words);
    }
    void prepare(bool repaired) {
      fiber::Channel<int> result(1);
      const fiber::Context limit = fiber::with_timeout({}, std::chrono::milliseconds(1));
      fiber::go({.name = "C"},
                [page = shared_from_this(), repaired, to = result.sender()] { page->render(to, repaired); });
      until([this] { return rendering.load(); });
      fiber::select(fiber::on_receive(result, [](auto) {}), fiber::on_done(limit, [] {}));
    }
    int word_count(bool repaired) {
      prepared.call([&] { prepare(repaired); });
      counted.call([&] {
        std::lock_guard guard(content);
        ++words;
      });
      return words;
    }
  };
  auto page = std::make_shared<Page>();
  fiber::WaitGroup rendered;
  for (const char* name : {"A", "B"}) {
    fiber::go({.name = name}, [fixed, page, done = rendered.token()] { page->word_count(fixed); });
  }
  rendered.wait();
}
const Registration r5379({"hugo_5379", "resource", "id", "A,B,C,M", "A,B,C", hugo_5379});

// Locking a key waits for the key's own mutex with the table locked; unlocking one looks it up in the table first.
void hugo_3251(bool fixed) {
  struct Nonces {
    fiber::RwLock table;
    std::map<std::string, std::unique_ptr<fiber::Mutex>> keys;
    std::atomic<bool> held{false}, wanted{false};

    void lock(const std::string& key, bool unlocks_first) {
      table.lock();
      auto& mutex = keys[key];
      if (mutex == nullptr) mutex = std::make_unique<fiber::Mutex>();
      fiber::Mutex& found = *mutex;
      if (held) wanted = true;
      if (unlocks_first) table.unlock();
      found.lock();
      if (!unlocks_first) table.unlock();
    }
    void unlock(const std::string& key, bool unlocks_first) {
      table.lock_shared();
      fiber::Mutex& mutex = *keys.at(key);
      if (unlocks_first) table.unlock_shared();
      mutex.unlock();
      if (!unlocks_first) table.unlock_shared();
    }
  };
  auto nonces = std::make_shared<Nonces>();
  fiber::WaitGroup group;
  for (const char* name : {"A", "B", "C", "D"}) {
    group.add();
    fiber::go({.name = name}, [fixed, nonces, &group, role = *name] {
      if (role != 'A') until([&] { return role == 'B' ? nonces->held.load() : nonces->wanted.load(); });
      for (int round = 0; round < 10; ++round) {
        nonces->lock("key", fixed);
        nonces->held = true;
        until([&] { return nonces->wanted.load(); });
        nonces->unlock("key", fixed);
      }
      group.done();
    });
  }
  group.wait();
}
const Registration r3251({"hugo_3251", "resource", "id", "A,B,C,D,M", "A,B,C,D", hugo_3251});

// A hook under lock W gives back lock C, which was taken before W; another hook under W takes C.
void kubernetes_13135(bool fixed) {
  struct Cacher {
    fiber::Mutex ready;   // C
    fiber::RwLock watch;  // W
    fiber::Once first;
    fiber::WaitGroup initialized{1};
    fiber::Channel<Nothing> stop;
    std::atomic<bool> begun{false}, second_round{false}, event{false};

    bool stopped() {
      bool is = false;
      fiber::select(fiber::on_receive(stop, [&](auto) { is = true; }), fiber::otherwise([] {}));
      return is;
    }
    void on_replace() {
      first.call([this] {
        begun = true;
        initialized.done();
      });
      ready.unlock();
    }
    void list_and_watch(bool in_order) {
      if (in_order) watch.lock();
      ready.lock();
      if (begun) {
        second_round = true;
        until([this] { return event.load(); });
      }
      if (!in_order) watch.lock();
      on_replace();
      watch.unlock();
    }
    void on_event() {
      std::lock_guard guard(watch);
      event = true;
      until([this] { return second_round.load(); });
      std::lock_guard ready_guard(ready);
    }
  };
  auto cacher = std::make_shared<Cacher>();
  fiber::go({.name = "A"}, [fixed, cacher] {
    while (!cacher->stopped()) {
      cacher->list_and_watch(fixed);
      fiber::yield();
    }
  });
  cacher->initialized.wait();
  fiber::go({.name = "B"}, [cacher] { cacher->on_event(); });
  fiber::go({.name = "S"}, [cacher] {
    until([&] { return cacher->second_round && cacher->event; });
    cacher->stop.close();
  });
}
const Registration r13135({"kubernetes_13135", "resource", "id", "A,B", "A,B", kubernetes_13135, 24});

// Deleting a device gives back the set's lock for a moment, and asks for it again with the device's lock held.
void moby_4951(bool fixed) {
  struct Devices {
    fiber::Mutex set;
    fiber::Mutex device;
    std::atomic<bool> deleting{false}, again{false};

    void remove(bool in_order) {
      set.lock();
      if (deleting) again = true;
      if (in_order) set.unlock();
      device.lock();
      if (!in_order) set.unlock();
      deleting = true;
      fiber::sleep_for(std::chrono::microseconds(20));
      until([this] { return again.load(); });
      set.lock();
      set.unlock();
      device.unlock();
    }
  };
  auto devices = std::make_shared<Devices>();
  fiber::go({.name = "A"}, [fixed, devices] { devices->remove(fixed); });
  fiber::go({.name = "B"}, [fixed, devices] {
    until([&] { return devices->deleting.load(); });
    devices->remove(fixed);
  });
}
const Registration r4951({"moby_4951", "resource", "id", "A,B", "A,B", moby_4951});

}  // namespace

}  // namespace goker
