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

// The exit handler locks what the logger, which calls it when it cannot make a file, has locked.
void cockroach_9935(bool fixed) {
  struct Logger {
    fiber::Mutex mutex;
    bool exiting = false;
    void exit() {
      std::lock_guard guard(mutex);
      exiting = true;
    }
    void output(bool unlocks_first) {
      mutex.lock();
      if (chance(6, 8)) {  // no file can be made
        if (unlocks_first) mutex.unlock();
        exit();
        if (unlocks_first) return;
      }
      mutex.unlock();
    }
  };
  fiber::go({.name = "A"}, [fixed, logger = std::make_shared<Logger>()] { logger->output(fixed); });
}
const Registration r9935({"cockroach_9935", "resource", "id", "A", "A", cockroach_9935, 146});

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
const Registration r5509({"etcd_5509", "resource", "orphan", "M", "M", etcd_5509, 52});

// Under the write lock, deep down, a read lock of the same lock is asked for.
void etcd_6708(bool fixed) {
  struct Client {
    fiber::RwLock lock;
    std::vector<int> endpoints;

    int do_request() {
      std::shared_lock guard(lock);
      return endpoints.empty() ? 0 : endpoints.front();
    }
    int leader() { return do_request(); }
    void set_endpoints(std::vector<int> some, bool unlocks_first) {
      endpoints = std::move(some);
      if (unlocks_first) lock.unlock();
      leader();
      if (!unlocks_first) lock.unlock();
    }
    void sync(bool unlocks_first) {
      lock.lock();
      set_endpoints({1, 2, 3}, unlocks_first);
    }
  };
  Client client;
  client.sync(fixed);
}
const Registration r6708({"etcd_6708", "resource", "id", "M", "M", etcd_6708});

// The first call of graceful stop leaves with the mutex.
void grpc_795(bool fixed) {
  struct Server {
    fiber::Mutex mutex;
    bool drains = false;
    std::atomic<bool> stopping{false};

    void graceful_stop(bool unlocks) {
      mutex.lock();
      drains = true;
      stopping = true;
      if (unlocks) mutex.unlock();
    }
    void serve() {
      until([this] { return stopping.load(); });
      std::lock_guard guard(mutex);
    }
  };
  auto server = std::make_shared<Server>();
  fiber::go({.name = "A"}, [server] { server->serve(); });
  for (int i = 0; i < 3; ++i) server->graceful_stop(fixed);
}
const Registration r795({"grpc_795", "resource", "id", "A,M", "A,M", grpc_795, 159});

// A connection that cannot be opened begins the next round with the mutex still locked.
void moby_7559(bool fixed) {
  struct Proxy {
    fiber::Mutex connections;
    static bool dial(const char* address) { return *address != 0; }
    void run(bool unlocks) {
      for (int round = 0; round < 2; ++round) {
        connections.lock();
        if (!dial("")) {
          if (unlocks) connections.unlock();
          continue;
        }
        connections.unlock();
      }
    }
  };
  fiber::go({.name = "A"}, [fixed, proxy = std::make_shared<Proxy>()] { proxy->run(fixed); });
}
const Registration r7559({"moby_7559", "resource", "id", "A", "A", moby_7559});

// Cleaning up returns early, with the mutex, when nothing is to be cleaned up.
struct DeviceSet {
  fiber::Mutex mutex;
  std::vector<int> deleted;

  void clean_up(bool unlocks) {
    mutex.lock();
    if (deleted.empty()) {
      if (unlocks) mutex.unlock();
      return;
    }
    deleted.clear();
    mutex.unlock();
  }
};

[[gnu::noinline]] void clean_up_and_wait(bool fixed) {
  auto devices = std::make_shared<DeviceSet>();
  devices->clean_up(fixed);
  fiber::Channel<Nothing> done(fixed ? 1 : 0);
  fiber::go({.name = "A"}, [devices, done = done.sender()]() mutable {
    devices->mutex.lock();
    devices->mutex.unlock();
    done.send(Nothing{});
  });
  fiber::select(fiber::on_receive(done, [](auto) {}), fiber::after(std::chrono::milliseconds(1), [] {}));
}

void moby_17176(bool fixed) { clean_up_and_wait(fixed); }
const Registration r17176({"moby_17176", "resource", "orphan", "A", "A", moby_17176});

// The same, but whoever has the mutex lives on, for a day, and has forgotten it.
void moby_17176_alive(bool fixed) {
  clean_up_and_wait(fixed);
  scrub_stack();
  if (!fixed) fiber::sleep_for(std::chrono::hours(24));
}
const Registration r17176b({"moby_17176_alive", "resource", "reach", "A", "", moby_17176_alive, 200, "M", true});

}  // namespace

}  // namespace goker
