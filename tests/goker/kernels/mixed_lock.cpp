// SPDX-License-Identifier: BSD-2-Clause
// Channels waited for with a lock held that the other side needs.
#include "goker/kernels/kernel.h"

namespace goker {

namespace {

// Stopping waits, with the mutex, for the end of a loop that needs the mutex for each item.
void etcd_6873(bool fixed) {
  struct Broadcasts {
    fiber::Mutex mutex;
    fiber::Channel<int> updates{1};
    fiber::Channel<Nothing> done;
    std::atomic<bool> stopping{false};

    void run() {
      for ([[maybe_unused]] int update : updates) {
        until([this] { return stopping.load(); });
        std::lock_guard guard(mutex);
      }
      done.close();
    }
    void stop(bool unlocks_first) {
      std::unique_lock guard(mutex);
      stopping = true;
      updates.close();
      if (unlocks_first) guard.unlock();
      done.receive();
    }
  };
  auto broadcasts = std::make_shared<Broadcasts>();
  fiber::go({.name = "A"}, [broadcasts] { broadcasts->run(); });
  broadcasts->updates.send(1);
  fiber::go({.name = "B"}, [fixed, broadcasts] { broadcasts->stop(fixed); });
}
const Registration r6873({"etcd_6873", "mixed", "reach+id", "A,B", "", etcd_6873, 107});

// Tokens are sent with the lock held that the keeper, who takes them, needs at its ticks.
void etcd_7492(bool fixed) {
  struct Keeper {
    fiber::RwLock lock;
    fiber::Channel<int> additions{1};
    fiber::Channel<fiber::Sender<Nothing>> stops;
    fiber::Ticker ticker{std::chrono::microseconds(mode() == Mode::forced ? 1000 : 5)};
    std::vector<int> tokens;
    std::atomic<int> kept{0}, added{0};

    void run() {
      for (bool goes_on = true; goes_on;) {
        // Forced: after the first token comes a tick.
        const bool only_ticks = mode() == Mode::forced && !tokens.empty();
        if (only_ticks) until([this] { return waits(additions.core()); });
        const fiber::Receiver<int> from = only_ticks ? fiber::Receiver<int>() : additions.receiver();
        fiber::select(fiber::on_receive(from,
                                        [&](std::optional<int> token) {
                                          tokens.push_back(*token);
                                          ++kept;
                                        }),
                      fiber::on_receive(ticker.channel(),
                                        [&](auto) {
                                          for ([[maybe_unused]] int token : tokens) {
                                            std::lock_guard guard(lock);
                                          }
                                        }),
                      fiber::on_receive(stops, [&](std::optional<fiber::Sender<Nothing>> stopped) {
                        if (stopped) stopped->close();
                        goes_on = false;
                      }));
      }
    }
    void add(int token, bool unlocks_first) {
      until([&] { return token == 1 || (kept == 1 && (token == 2 || added == 2)); });
      std::unique_lock guard(lock);
      if (unlocks_first) guard.unlock();
      additions.send(token);
      ++added;
    }
    void stop() {
      fiber::Channel<Nothing> stopped;
      stops.send(stopped);
      stopped.receive();
    }
  };
  auto keeper = std::make_shared<Keeper>();
  fiber::go({.name = "K"}, [keeper] { keeper->run(); });
  fiber::WaitGroup all(3);
  for (const char* name : {"A1", "A2", "A3"}) {
    fiber::go({.name = name}, [fixed, keeper, &all, token = name[1] - '0'] {
      keeper->add(token, fixed);
      all.done();
    });
  }
  all.wait();
  keeper->stop();
}
const Registration r7492({"etcd_7492", "mixed", "reach+id", "A3,K,M", "", etcd_7492, 25});

// A dormant keepalive waits to be awakened with the mutex that whoever would awaken it asks for first.
void grpc_1460(bool fixed) {
  struct Transport {
    fiber::Mutex mutex;
    fiber::Channel<Nothing> awaken;
    int streams = 0;
    explicit Transport(std::size_t capacity) : awaken(capacity) {}

    void keep_alive(bool unlocks_first) {
      std::unique_lock guard(mutex);
      if (streams != 0) return;
      if (unlocks_first) guard.unlock();
      awaken.receive();
    }
    void new_stream() {
      until([this] { return waits(awaken.core()); });
      std::lock_guard guard(mutex);
      ++streams;
      awaken.try_send(Nothing{});
    }
  };
  auto transport = std::make_shared<Transport>(fixed ? 1 : 0);
  fiber::go({.name = "A"}, [fixed, transport] { transport->keep_alive(fixed); });
  fiber::go({.name = "B"}, [transport] { transport->new_stream(); });
}
const Registration r1460({"grpc_1460", "mixed", "reach+id", "A,B", "", grpc_1460, 127});

// The handler of an event reports with the mutex held; who waits for reports asks for the mutex before.
void istio_16224(bool fixed) {
  struct Controller {
    fiber::Mutex mutex;
    fiber::Channel<int> events;
    fiber::Channel<Nothing> done, stop;
    std::atomic<bool> handling{false};

    void run(bool unlocks_first) {
      for (bool goes_on = true; goes_on;) {
        fiber::select(fiber::on_receive(stop, [&](auto) { goes_on = false; }),
                      fiber::on_receive(events, [&](auto) { handle(unlocks_first); }));
      }
    }
    void handle(bool unlocks_first) {
      std::unique_lock guard(mutex);
      handling = true;
      if (unlocks_first) guard.unlock();
      done.send(Nothing{});
    }
  };
  auto controller = std::make_shared<Controller>();
  fiber::go({.name = "A"}, [fixed, controller] { controller->run(fixed); });
  controller->events.send(1);
  until([&] { return controller->handling.load(); });
  controller->mutex.lock();
  controller->mutex.unlock();
  controller->done.receive();
  controller->stop.close();
}
const Registration r16224({"istio_16224", "mixed", "reach+id", "A,M", "", istio_16224, 152});

// Distributing an event waits, with two mutexes, for a watcher that asks for one of them to stop.
void kubernetes_1321(bool fixed) {
  struct Mux {
    fiber::Mutex mutex, registry;
    std::vector<fiber::Channel<int>> watchers;
    fiber::Channel<int> incoming{1};

    void distribute() {
      for (int event : incoming) {
        std::lock_guard guard(mutex);
        std::lock_guard registry_guard(registry);
        for (fiber::Channel<int>& watcher : watchers) watcher.send(event);
      }
    }
    fiber::Channel<int> watch() {
      std::lock_guard guard(registry);
      return watchers.emplace_back();
    }
    void stop(fiber::Channel<int> watcher, bool drains) {
      if (drains) {
        fiber::go({.name = "D"}, [from = watcher.receiver()]() mutable {
          while (from.receive()) continue;
        });
      }
      std::lock_guard guard(mutex);
      watchers.clear();
      watcher.close();
    }
  };
  fiber::go({.name = "A"}, [fixed] {
    auto mux = std::make_shared<Mux>();
    fiber::go({.name = "B"}, [mux] { mux->distribute(); });
    const fiber::Channel<int> watcher = mux->watch();
    mux->incoming.send(1);
    until([&] { return waits(watcher.core()); });
    mux->stop(watcher, fixed);
    mux->incoming.close();
  });
}
const Registration r1321({"kubernetes_1321", "mixed", "reach+id", "A,B", "", kubernetes_1321, 12});

// Setters send with the lock held that the receiver asks for after each value.
void kubernetes_10182(bool fixed) {
  struct Manager {
    fiber::RwLock lock;
    fiber::Channel<int> statuses;
    std::atomic<bool> first_set{false};

    void sync() {
      for (int i = 0; i < 2; ++i) {
        statuses.receive();
        until([&] { return i != 0 || waits(statuses.core()); });
        std::lock_guard guard(lock);
      }
    }
    void set(bool unlocks_first) {
      std::unique_lock guard(lock);
      if (unlocks_first) guard.unlock();
      statuses.send(1);
      first_set = true;
    }
  };
  auto manager = std::make_shared<Manager>();
  fiber::go({.name = "A"}, [manager] { manager->sync(); });
  fiber::go({.name = "B"}, [fixed, manager] { manager->set(fixed); });
  fiber::go({.name = "C"}, [fixed, manager] {
    until([&] { return manager->first_set.load(); });
    manager->set(fixed);
  });
}
const Registration r10182({"kubernetes_10182", "mixed", "reach+id", "A,C", "", kubernetes_10182, 67});

// A waits to be stopped with the lock that B needs before it ends, for which M waits before it stops A. (The original's
// lock is a reader-writer lock, which conditions here do not work with, and M unlocks what B locked; here B does.)
void kubernetes_26980(bool fixed) {
  struct Listener {
    fiber::Mutex lock;
    fiber::Condition added;
    std::vector<int> pending{1};
    fiber::Channel<Nothing> stop, result;
    std::atomic<bool> popping{false};

    void pop(bool unlocks_first) {
      std::unique_lock guard(lock);
      while (pending.empty()) added.wait(guard);
      popping = true;
      if (unlocks_first) guard.unlock();
      stop.receive();
    }
    void add() {
      until([this] { return popping.load(); });
      std::lock_guard guard(lock);
      result.close();
    }
  };
  auto listener = std::make_shared<Listener>();
  fiber::go({.name = "A"}, [fixed, listener] { listener->pop(fixed); });
  fiber::go({.name = "B"}, [listener] { listener->add(); });
  listener->result.receive();
  listener->stop.close();
}
const Registration r26980({"kubernetes_26980", "mixed", "reach+id", "A,B,M", "", kubernetes_26980, 109});

// The monitor has just found that it is not stopped, and asks for the lock with which it is being stopped.
void moby_28462(bool fixed) {
  struct Container {
    fiber::Mutex mutex;
    fiber::Channel<Nothing> stop;
    std::atomic<bool> probing{false};

    void monitor() {
      while (!stop.try_receive()) {
        probing = true;
        until([this] { return waits(stop.core()); });
        { std::lock_guard guard(mutex); }
        fiber::yield();
      }
    }
    void shut_down(bool unlocks_first) {
      until([this] { return probing.load(); });
      std::unique_lock guard(mutex);
      if (unlocks_first) guard.unlock();
      stop.send(Nothing{});
    }
  };
  auto container = std::make_shared<Container>();
  fiber::go({.name = "A"}, [container] { container->monitor(); });
  fiber::go({.name = "B"}, [fixed, container] { container->shut_down(fixed); });
}
const Registration r28462({"moby_28462", "mixed", "reach+id", "A,B", "", moby_28462, 45});

}  // namespace

}  // namespace goker
