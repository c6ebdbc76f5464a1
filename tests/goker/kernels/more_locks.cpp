// SPDX-License-Identifier: BSD-2-Clause
// Not of the catalogue: what waits for those who hold, run or are joined, in further ways.
#include <array>

#include "goker/kernels/kernel.h"

namespace goker {

namespace {

struct Flags {
  std::atomic<bool> a{false}, b{false}, c{false};
};

void join_cycle(bool fixed) {
  struct Handles {
    fiber::JoinHandle<void> a, b;
    std::atomic<bool> set{false};
  };
  auto handles = std::make_shared<Handles>();
  const auto join = [handles](fiber::JoinHandle<void> Handles::*whom, bool joins) {
    while (!handles->set) fiber::yield();
    if (joins) ((*handles).*whom).join();
  };
  handles->a = fiber::spawn({.name = "A"}, [join] { join(&Handles::b, true); });
  handles->b = fiber::spawn({.name = "B"}, [join, fixed] { join(&Handles::a, !fixed); });
  handles->set = true;
}
const Registration r1({"join_cycle", "resource", "id", "A,B", "A,B", join_cycle, 200, "", true});

// Both read, and both want to write.
void upgrade(bool fixed) {
  struct Table : Flags {
    fiber::RwLock lock;
    void change(std::atomic<bool>& mine, const std::atomic<bool>& other, bool unlocks_first) {
      lock.lock_shared();
      mine = true;
      until([&] { return other.load(); });
      if (unlocks_first) lock.unlock_shared();
      lock.lock();
      lock.unlock();
      if (!unlocks_first) lock.unlock_shared();
    }
  };
  auto table = std::make_shared<Table>();
  fiber::go({.name = "A"}, [table, fixed] { table->change(table->a, table->b, fixed); });
  fiber::go({.name = "B"}, [table, fixed] { table->change(table->b, table->a, fixed); });
}
const Registration r2({"upgrade", "resource", "id", "A,B", "A,B", upgrade, 200, "", true});

// Each of two onces needs the other.
void once_cycle(bool fixed) {
  struct Onces : Flags {
    fiber::Once one, other;
  };
  auto onces = std::make_shared<Onces>();
  fiber::go({.name = "A"}, [onces] {
    onces->one.call([&] {
      onces->a = true;
      until([&] { return onces->b.load(); });
      onces->other.call([] {});
    });
  });
  fiber::go({.name = "B"}, [onces, fixed] {
    onces->other.call([&] {
      onces->b = true;
      until([&] { return onces->a.load(); });
      if (!fixed) onces->one.call([] {});
    });
  });
}
const Registration r3({"once_cycle", "resource", "id", "A,B", "A,B", once_cycle, 200, "", true});

// What everybody can reach is of no help: only its owners can unlock it.
fiber::Mutex global_one, global_other;

void global_locks(bool fixed) {
  auto flags = std::make_shared<Flags>();
  const auto take = [flags](fiber::Mutex& first, fiber::Mutex& second, std::atomic<bool>& mine,
                            const std::atomic<bool>& other) {
    std::lock_guard guard(first);
    mine = true;
    until([&] { return other.load(); });
    std::lock_guard second_guard(second);
  };
  fiber::go({.name = "A"}, [=] { take(global_one, global_other, flags->a, flags->b); });
  fiber::go({.name = "B"}, [=] {
    if (fixed) {
      take(global_one, global_other, flags->b, flags->a);
    } else {
      take(global_other, global_one, flags->b, flags->a);
    }
  });
}
const Registration r4({"global_locks", "resource", "id", "A,B", "A,B", global_locks, 200, "", true});

// A cycle through a mutex, a reader's lock and a once; D and E are behind it.
void three_kinds(bool fixed) {
  struct Objects : Flags {
    fiber::Mutex mutex;
    fiber::RwLock lock;
    fiber::Once once;
    bool all() const { return a && b && c; }
  };
  auto objects = std::make_shared<Objects>();
  fiber::go({.name = "A"}, [objects] {
    std::lock_guard guard(objects->mutex);
    objects->a = true;
    until([&] { return objects->all(); });
    std::lock_guard lock_guard(objects->lock);
  });
  fiber::go({.name = "B"}, [objects] {
    std::shared_lock guard(objects->lock);
    objects->b = true;
    until([&] { return objects->all(); });
    objects->once.call([] {});
  });
  fiber::go({.name = "C"}, [objects, fixed] {
    objects->once.call([&] {
      objects->c = true;
      until([&] { return objects->all(); });
      if (!fixed) std::lock_guard guard(objects->mutex);
    });
  });
  auto behind = fiber::spawn({.name = "D"}, [objects] {
    until([&] { return waits(&objects->lock); });
    std::shared_lock guard(objects->lock);
  });
  fiber::go({.name = "E"}, [behind = std::move(behind)]() mutable { behind.join(); });
}
const Registration r5({"three_kinds", "resource", "id", "A,B,C,D,E", "A,B,C,D,E", three_kinds, 200, "", true});

// The writer is gone and has left its lock behind.
void orphaned_writer(bool fixed) {
  auto lock = std::make_shared<fiber::RwLock>();
  lock->lock();
  if (fixed) lock->unlock();
  fiber::go({.name = "A"}, [lock] { std::lock_guard guard(*lock); });
  fiber::go({.name = "B"}, [lock] {
    until([&] { return waits(lock.get()); });
    std::shared_lock guard(*lock);
  });
}
const Registration r6({"orphaned_writer", "resource", "orphan", "A,B", "A,B", orphaned_writer, 200, "", true});

// A leaks with a lock; the others are behind it.
void leak_with_lock(bool fixed) {
  auto mutex = std::make_shared<fiber::Mutex>();
  fiber::Channel<int> channel;
  fiber::go({.name = "A"}, [mutex, from = channel.receiver()]() mutable {
    std::lock_guard guard(*mutex);
    from.receive();
  });
  if (fixed) channel.close();
  fiber::go({.name = "B"}, [mutex] {
    until([&] { return mutex->owner() != 0; });
    std::lock_guard guard(*mutex);
  });
}
const Registration r7({"leak_with_lock", "mixed", "reach+id", "A,B", "", leak_with_lock, 200, "", true});

void barrier_short(bool fixed) {
  auto barrier = std::make_shared<fiber::Barrier>(fixed ? 2 : 3);
  for (const char* name : {"A", "B"}) {
    fiber::go({.name = name}, [barrier] { barrier->arrive_and_wait(); });
  }
}
const Registration r8({"barrier_short", "communication", "reach", "A,B", "", barrier_short, 200, "", true});

void lost_permit(bool fixed) {
  auto semaphore = std::make_shared<fiber::Semaphore>(1);
  semaphore->acquire();
  if (fixed) semaphore->release();
  fiber::go({.name = "A"}, [semaphore] { semaphore->acquire(); });
}
const Registration r9({"lost_permit", "communication", "reach", "A", "", lost_permit, 200, "", true});

// As that, in the block below the heap's top, whose address is the block's last word: the allocator's own lists are
// nobody's memory.
void last_block(bool fixed) {
  struct Large {
    std::array<char, 100'000> rest{};
    fiber::Semaphore semaphore{1};
  };
  fiber::go({.name = "A"}, [fixed] {
    auto large = std::make_unique<Large>();
    large->semaphore.acquire();
    if (fixed) large->semaphore.release();
    large->semaphore.acquire();
  });
}
const Registration r11({"last_block", "communication", "reach", "A", "", last_block, 200, "", true});

// The one token left is where nobody knows it.
void lost_token(bool fixed) {
  auto group = std::make_shared<fiber::WaitGroup>();
  auto token = std::make_unique<fiber::WaitGroup::Token>(group->token());
  fiber::go({.name = "A"}, [group] { group->wait(); });
  fiber::go({.name = "B"}, [group] { group->wait(); });
  if (!fixed) static_cast<void>(token.release());
}
const Registration r10({"lost_token", "communication", "reach", "A,B", "", lost_token, 200, "", true});

}  // namespace

}  // namespace goker
