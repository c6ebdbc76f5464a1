// SPDX-License-Identifier: BSD-2-Clause
// Locks taken in different orders.
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
const Registration r10214({"cockroach_10214", "resource", "id", "A,B", "A,B", cockroach_10214});

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

}  // namespace

}  // namespace goker
