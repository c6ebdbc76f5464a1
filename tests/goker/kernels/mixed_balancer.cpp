// SPDX-License-Identifier: BSD-2-Clause
// etcd_7443: a client, its balancer, and the channel between them.
#include <map>

#include "goker/kernels/kernel.h"

namespace goker {

namespace {

using Addresses = std::vector<int>;

// Which connections there ought to be is sent with the balancer's lock held: by connections that are up, and by the
// only receiver, when it takes a connection down. And the address 0 looks like none.
struct Balancer {
  fiber::RwLock lock;
  const Addresses all{0, 1, 2};
  int pinned = 0;  // 0: none
  bool closed = false;
  fiber::Channel<Addresses> wanted{1};
  fiber::Channel<Nothing> over;

  // With the lock held.
  void notify(const Addresses& addresses, bool replaces) {
    if (replaces) {
      wanted.try_receive();
      wanted.try_send(Addresses(addresses));
    } else {
      wanted.send(addresses);
    }
  }
  void up(int address, bool replaces) {
    std::lock_guard guard(lock);
    if (closed || pinned != 0) return;
    pinned = address;
    notify({address}, replaces);
  }
  void down(int address, bool replaces) {
    std::lock_guard guard(lock);
    if (closed || pinned != address) return;
    pinned = 0;
    notify(all, replaces);
  }
  void close() {
    {
      std::lock_guard guard(lock);
      closed = true;
      wanted.close();
    }
    over.close();
  }
};

struct Client : std::enable_shared_from_this<Client> {
  struct Connection {
    fiber::Mutex mutex;
  };
  Balancer balancer;
  fiber::RwLock lock;
  std::map<int, std::shared_ptr<Connection>> connections;
  std::atomic<bool> up[3] = {false, false, false};
  std::atomic<bool> second_list{false};

  void bring_up(int address, const std::shared_ptr<Connection>& connection, bool repaired) {
    // R0 first; R1 when there is room again; R2 too late.
    if (address == 1) until([this] { return second_list.load(); });
    if (address == 2) until([this] { return up[1].load(); });
    {
      std::lock_guard guard(connection->mutex);
      balancer.up(address, repaired);
    }
    up[address] = true;
  }
  // The connections that `list` does not have any more, and a fiber for each that is new.
  std::map<int, std::shared_ptr<Connection>> change_to(const Addresses& list, bool repaired) {
    std::lock_guard guard(lock);
    std::map<int, std::shared_ptr<Connection>> missing = connections;
    for (const int address : list) {
      missing.erase(address);
      auto& connection = connections[address];
      if (connection != nullptr) continue;
      connection = std::make_shared<Connection>();
      static constexpr const char* names[] = {"R0", "R1", "R2"};
      fiber::go({.name = names[address]}, [client = shared_from_this(), address, connection, repaired] {
        client->bring_up(address, connection, repaired);
      });
    }
    for (const auto& [address, connection] : missing) connections.erase(address);
    return missing;
  }
  void watch(bool repaired) {
    for (const Addresses& list : balancer.wanted) {
      const auto missing = change_to(list, repaired);
      if (list.size() == 1) second_list = true;
      if (!missing.empty()) until([this] { return up[2].load(); });
      for (const auto& [address, connection] : missing) {
        std::lock_guard guard(connection->mutex);
        balancer.down(address, repaired);
      }
    }
  }
  void close() {
    std::lock_guard guard(lock);
    std::shared_lock balancer_guard(balancer.lock);
    connections.clear();
  }
};

void etcd_7443(bool fixed) {
  auto client = std::make_shared<Client>();
  client->balancer.wanted.send(client->balancer.all);
  // After R2 its receiver does not receive any more, but sends.
  const auto hangs = [client] { return client->up[2] && waits(client->balancer.wanted.core()); };
  fiber::go({.name = "W"}, [fixed, client] { client->watch(fixed); });
  fiber::go({.name = "B"}, [client, hangs] {
    until(hangs);
    client->balancer.close();
  });
  fiber::go({.name = "C"}, [client, hangs] {
    until(hangs);
    client->close();
  });
  client->balancer.over.receive();
}
const Registration r7443({"etcd_7443", "mixed", "reach+id", "B,C,M,W", "", etcd_7443, 0});

}  // namespace

}  // namespace goker
