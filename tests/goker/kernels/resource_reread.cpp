// SPDX-License-Identifier: BSD-2-Clause
// Readers that ask for their read lock again while a writer waits.
#include "goker/kernels/kernel.h"

namespace goker {

namespace {

// For each replica, a chain of calls under the store's read lock reads the store again.
void cockroach_3710(bool fixed) {
  struct Store {
    fiber::RwLock lock;
    fiber::Mutex queue;
    int replicas = 2;
    std::atomic<bool> reading{false};

    int descriptor(bool reads_again) {
      if (!reads_again) return replicas;
      std::shared_lock guard(lock);
      return replicas;
    }
    void maybe_add(bool reads_again) {
      std::lock_guard guard(queue);
      descriptor(reads_again);
    }
    void force_scan(bool reads_again) {
      std::shared_lock guard(lock);
      reading = true;
      for (int replica = 0; replica < replicas; ++replica) {
        until([this] { return waits(&lock); });
        maybe_add(reads_again);
      }
    }
    void process_raft() {
      until([this] { return reading.load(); });
      std::lock_guard guard(lock);
    }
  };
  auto store = std::make_shared<Store>();
  fiber::go({.name = "A"}, [fixed, store] { store->force_scan(!fixed); });
  fiber::go({.name = "B"}, [store] { fiber::go({.name = "C"}, [store] { store->process_raft(); }); });
}
const Registration r3710({"cockroach_3710", "resource", "id", "A,C", "A,C", cockroach_3710, 40});

// Printing the cache under its read lock reads it again.
void cockroach_6181(bool fixed) {
  struct Cache {
    fiber::RwLock lock;
    int entries = 0;
    std::atomic<bool> reading{false};

    int to_string(bool locks) {
      if (!locks) return entries;
      std::shared_lock guard(lock);
      return entries;
    }
    void look_up(char role, bool reads_again) {
      if (role == 'C') until([this] { return waits(&lock); });
      {
        std::shared_lock guard(lock);
        if (role == 'A') {
          reading = true;
          until([this] { return waits(&lock); });
        }
        to_string(reads_again);
      }
      until([this] { return reading.load(); });
      std::lock_guard guard(lock);
      ++entries;
    }
  };
  fiber::go({.name = "P"}, [fixed] {
    auto cache = std::make_shared<Cache>();
    fiber::WaitGroup all;
    for (const char* name : {"A", "B", "C"}) {
      fiber::go({.name = name}, [fixed, cache, role = *name, done = all.token()] { cache->look_up(role, !fixed); });
    }
    all.wait();
  });
}
const Registration r6181({"cockroach_6181", "resource", "id", "A,B,C,P", "A,B,C", cockroach_6181, 20});

// Workers wait on their queue's condition with a read lock that a writer wants; other workers are behind that one.
void kubernetes_58107(bool fixed) {
  struct Queue {
    fiber::Mutex mutex;
    fiber::Condition condition;
    int items = 0;
  };
  struct Controller {
    fiber::RwLock workers;
    Queue queues[2];
    std::atomic<bool> signalled{false};

    void work(Queue& queue) {
      std::shared_lock worker(workers);
      std::unique_lock guard(queue.mutex);
      queue.condition.wait(guard);
    }
    void work_repaired(Queue& queue) {
      {
        std::unique_lock guard(queue.mutex);
        queue.condition.wait(guard, [&] { return queue.items > 0; });
      }
      std::shared_lock worker(workers);
    }
    void sync() {
      for (int round = 0; round < 10; ++round) {
        std::lock_guard guard(workers);
        fiber::sleep_for(std::chrono::microseconds(5));
      }
    }
    void signal(bool with_items) {
      for (int round = 0; round < 10; ++round) {
        for (Queue& queue : queues) {
          if (with_items) {
            std::lock_guard guard(queue.mutex);
            ++queue.items;
          }
          queue.condition.notify_one();
        }
        jitter();
      }
      signalled = true;
    }
  };
  auto controller = std::make_shared<Controller>();
  fiber::go({.name = "A"}, [fixed, controller] {
    until([&] { return controller->signalled.load(); });
    fixed ? controller->work_repaired(controller->queues[0]) : controller->work(controller->queues[0]);
  });
  fiber::go({.name = "B"}, [fixed, controller] {
    until([&] { return waits(&controller->workers); });
    fixed ? controller->work_repaired(controller->queues[1]) : controller->work(controller->queues[1]);
  });
  fiber::go({.name = "C"}, [controller] {
    until([&] { return waits(&controller->queues[0].condition); });
    controller->sync();
  });
  controller->signal(fixed);
}
const Registration r58107({"kubernetes_58107", "resource", "reach+id", "A,B,C", "", kubernetes_58107, 3});

}  // namespace

}  // namespace goker
