// SPDX-License-Identifier: BSD-2-Clause
// Locks that are asked for again by who has not given them back, and locks that their holder took to the grave.
#include "goker/kernels/kernel.h"

namespace goker {

namespace {

// The first loop leaves without unlocking when the object is closed; the second begins by locking.
void cockroach_584(bool fixed) {
  struct Gossip {
    fiber::Mutex mutex;
    bool closed = true;
    void bootstrap(bool unlocks) {
      for (;; jitter()) {
        mutex.lock();
        if (closed) {
          if (unlocks) mutex.unlock();
          break;
        }
        mutex.unlock();
      }
    }
    void manage() {
      for (;; jitter()) {
        mutex.lock();
        const bool ends = closed;
        mutex.unlock();
        if (ends) break;
      }
    }
  };
  fiber::go({.name = "A"}, [fixed, gossip = std::make_shared<Gossip>()] {
    gossip->bootstrap(fixed);
    gossip->manage();
  });
}
const Registration r584({"cockroach_584", "resource", "id", "A", "A", cockroach_584});

// A request that finds the client closed returns with its read lock. Close asks for the write lock twice.
void etcd_5509(bool fixed) {
  struct Client {
    fiber::RwLock lock;
    bool closed = false;
    fiber::Channel<Nothing> done;
    std::atomic<bool> is_closed{false}, last_request_over{false};

    bool request(bool unlocks) {
      lock.lock_shared();
      if (closed) {
        if (unlocks) lock.unlock_shared();
        return false;
      }
      lock.unlock_shared();
      return true;
    }
    void close() {
      lock.lock();
      closed = true;
      lock.unlock();
      is_closed = true;
      until([this] { return last_request_over.load(); });
      lock.lock();
      lock.unlock();
    }
  };
  auto client = std::make_shared<Client>();
  fiber::go({.name = "A"}, [fixed, client] {
    while (client->request(fixed)) until([&] { return client->is_closed.load(); });
    client->last_request_over = true;
    client->done.close();
  });
  client->close();
  client->done.receive();
}
const Registration r5509({"etcd_5509", "resource", "orphan", "M", "M", etcd_5509});

}  // namespace

}  // namespace goker
