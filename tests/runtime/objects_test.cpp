// SPDX-License-Identifier: BSD-2-Clause
// What an outside reader sees of each kind of synchronisation object while fibers wait for it: kind, owner, holders,
// waiters. Reads the memory only where the registry says, from the resource of a parked fiber on.
#include <fiber/all.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <vector>

#include "observe.h"
#include "on_processors.h"

using namespace std::chrono_literals;

namespace {

using Address = std::uint64_t;

std::vector<Address> walk(Address waiter) {
  std::vector<Address> found;
  for (; waiter != 0; waiter = OBSERVE(waiter, waiter, next)) {
    const Address fiber = OBSERVE(waiter, waiter, fiber);
    found.push_back(fiber != 0 ? OBSERVE(fiber, fiber, id) : OBSERVE(waiter, waiter, thread));
  }
  return found;
}
std::vector<Address> waiters(Address object) { return walk(OBSERVE(object, object, waiters)); }

std::string name_of(Address object) {
  const Address name = OBSERVE(object, object, name);
  return name == 0 ? "" : reinterpret_cast<const char*>(name);
}

// The slot of a fiber by its id.
Address slot(std::uint64_t id) {
  for (const Address fiber : observe::fibers()) {
    if (OBSERVE(fiber, fiber, id) == id) return fiber;
  }
  return 0;
}

// Whether the used part of a parked fiber's stack holds that word. The sanitizers' red zones are read too.
[[gnu::noinline, gnu::no_sanitize("address", "thread")]] bool stack_holds(Address fiber, Address word) {
  const Address end = OBSERVE(fiber, fiber, stack_high);
  for (Address at = OBSERVE(fiber, fiber, sp); at < end; at += sizeof word) {
    if (*reinterpret_cast<const volatile Address*>(at) == word) return true;
  }
  return false;
}

// Ids of the fibers that say they hold that lock for reading.
std::vector<std::uint64_t> readers_of(Address lock) {
  std::vector<std::uint64_t> found;
  const fiberprof_field shared = fiberprof_registry.fields[FIBERPROF_FIELD_fiber_shared];
  for (const Address fiber : observe::fibers()) {
    for (unsigned i = 0; i < shared.size / 8; ++i) {
      const auto* held = reinterpret_cast<const std::uint64_t*>(fiber + shared.offset) + i;
      if (__atomic_load_n(held, __ATOMIC_ACQUIRE) == lock) found.push_back(OBSERVE(fiber, fiber, id));
    }
  }
  return found;
}

// The body's waiting fibers are abandoned at the end.
class Objects : public OnProcessors {};
INSTANTIATE_TEST_SUITE_P(Processors, Objects, testing::Values(1u, 4u));

// Starts a fiber that waits for what `object` points at, and returns its id once it does.
template <class F>
std::uint64_t park_one(const void* object, F&& wait) {
  const std::size_t before = observe::parked_on(object).size();
  fiber::Channel<std::uint64_t> id(1);
  fiber::go([id, wait = std::forward<F>(wait)]() mutable {
    id.send(fiber::current_id());
    wait();
  });
  observe::await_parked(object, before + 1);
  return *id.receive();
}

using Ids = std::vector<std::uint64_t>;

// What abandoned fibers wait for must outlive them.
template <class T, class... Arguments>
T* immortal(Arguments&&... arguments) {
  static std::vector<std::unique_ptr<T>> all;
  all.push_back(std::make_unique<T>(std::forward<Arguments>(arguments)...));
  return all.back().get();
}

}  // namespace

TEST_P(Objects, Mutex) {
  run([] {
    auto* mutex = immortal<fiber::Mutex>("accounts");
    mutex->lock();
    const Ids parked = {park_one(mutex, [=] { mutex->lock(); }), park_one(mutex, [=] { mutex->lock(); })};
    const Address object = OBSERVE(slot(parked[0]), fiber, resource);
    EXPECT_EQ(object, observe::address(mutex));
    EXPECT_EQ(OBSERVE(object, object, kind), FIBERPROF_OBJECT_MUTEX);
    EXPECT_EQ(OBSERVE(object, object, owner), fiber::current_id());
    EXPECT_EQ(OBSERVE(object, object, count), 2u);
    EXPECT_EQ(OBSERVE(object, object, lock), 0u);
    EXPECT_EQ(name_of(object), "accounts");
    EXPECT_EQ(waiters(object), parked);
    mutex->unlock();
    // The first has been woken, and takes it when it runs: on another processor perhaps before the next line.
    EXPECT_THAT(OBSERVE(object, object, owner), testing::AnyOf(0u, parked[0]));
    EXPECT_EQ(waiters(object), Ids{parked[1]});
  });
}

TEST_P(Objects, ThreadsAsOwnersAndWaiters) {
  run([] {
    auto* mutex = immortal<fiber::Mutex>();
    fiber::Channel<std::uint64_t> owner(1);
    std::atomic<bool> may_unlock{false};
    std::thread first([&, owner]() mutable {
      std::lock_guard guard(*mutex);
      owner.send(mutex->owner());
      while (!may_unlock) std::this_thread::yield();
    });
    const std::uint64_t thread = *owner.receive();
    EXPECT_NE(thread & FIBERPROF_OWNER_THREAD, 0u);
    const Address object = observe::address(mutex);
    EXPECT_EQ(OBSERVE(object, object, owner), thread);
    std::thread second([&] { std::lock_guard guard(*mutex); });
    while (waiters(object).size() != 1) fiber::yield();
    EXPECT_NE(waiters(object)[0] & FIBERPROF_OWNER_THREAD, 0u);
    EXPECT_NE(waiters(object)[0], thread);
    may_unlock = true;
    fiber::blocking([&] {
      first.join();
      second.join();
    });
    EXPECT_EQ(OBSERVE(object, object, owner), 0u);
  });
}

TEST_P(Objects, RwLock) {
  run([] {
    auto* lock = immortal<fiber::RwLock>("table");
    const Address object = observe::address(lock);
    auto* never = immortal<fiber::Semaphore>(0);
    const Ids inside = {park_one(never,
                                 [=] {
                                   lock->lock_shared();
                                   never->acquire();
                                 }),
                        park_one(never, [=] {
                          lock->lock_shared();
                          never->acquire();
                        })};
    EXPECT_EQ(OBSERVE(object, object, kind), FIBERPROF_OBJECT_RWLOCK);
    EXPECT_EQ(OBSERVE(object, object, count) & 0xffffffff, 2u);
    EXPECT_EQ(OBSERVE(object, object, owner), 0u);
    EXPECT_EQ(readers_of(object).size(), 2u);
    for (const std::uint64_t id : inside) EXPECT_EQ(OBSERVE(slot(id), fiber, shared_len), 1u);
    const Ids parked = {park_one(lock, [=] { lock->lock(); }), park_one(lock, [=] { lock->lock_shared(); })};
    EXPECT_EQ(waiters(object), parked);
    EXPECT_EQ(OBSERVE(slot(parked[0]), fiber, reason), FIBERPROF_REASON_RWLOCK_WRITE);
    EXPECT_EQ(OBSERVE(slot(parked[1]), fiber, reason), FIBERPROF_REASON_RWLOCK_READ);

    auto* written = immortal<fiber::RwLock>();
    written->lock();
    EXPECT_EQ(OBSERVE(observe::address(written), object, owner), fiber::current_id());
    written->unlock();
    EXPECT_EQ(OBSERVE(observe::address(written), object, owner), 0u);
    written->lock_shared();
    EXPECT_EQ(readers_of(observe::address(written)), Ids{fiber::current_id()});
    written->unlock_shared();
    EXPECT_TRUE(readers_of(observe::address(written)).empty());
    // A slot that is used again says nothing of the fiber before.
    auto never_unlocks = fiber::spawn([=] { written->lock_shared(); });
    const std::uint64_t ended = never_unlocks.id();
    never_unlocks.join();
    while (slot(ended) != 0) fiber::yield();  // joined a moment before its slot is free
    EXPECT_TRUE(fiber::spawn([=] {
                  return OBSERVE(slot(fiber::current_id()), fiber, shared_len) == 0 &&
                         readers_of(observe::address(written)).empty();
                }).join());
  });
}

// What fiberprof_wait_group promises to those who look for tokens.
TEST_P(Objects, ATokenIsAWordThatPointsToItsGroup) {
  run([] {
    auto* group = immortal<fiber::WaitGroup>();
    const auto word_of = [](const fiber::WaitGroup::Token& token) {
      static_assert(sizeof token == sizeof(Address));
      Address word;
      std::memcpy(&word, static_cast<const void*>(&token), sizeof word);
      return word;
    };
    fiber::WaitGroup::Token token = group->token();
    EXPECT_EQ(word_of(token), observe::address(group));
    fiber::WaitGroup::Token other = std::move(token);
    EXPECT_EQ(word_of(token), 0u);  // NOLINT(bugprone-use-after-move)
    EXPECT_EQ(word_of(other), observe::address(group));
    EXPECT_EQ(OBSERVE(observe::address(group), wait_group, tokens), 1u);
    other.done();
    EXPECT_EQ(word_of(other), 0u);
    EXPECT_EQ(OBSERVE(observe::address(group), wait_group, tokens), 0u);

    // A fiber's token is found on its stack.
    auto* never = immortal<fiber::Channel<int>>();
    const std::uint64_t holder = park_one(never->core(), [never, held = group->token()] { never->receive(); });
    park_one(group, [=] { group->wait(); });
    EXPECT_EQ(OBSERVE(observe::address(group), wait_group, tokens), 1u);
    EXPECT_EQ(OBSERVE(observe::address(group), object, count), 1u);
    EXPECT_TRUE(stack_holds(slot(holder), observe::address(group)));
  });
}

TEST_P(Objects, ConditionSemaphoreBarrierOnceAndWaitGroup) {
  run([] {
    auto* mutex = immortal<fiber::Mutex>();
    auto* condition = immortal<fiber::Condition>("changed");
    const Ids on_condition = {park_one(condition, [=] {
      std::unique_lock lock(*mutex);
      condition->wait(lock);
    })};
    EXPECT_EQ(OBSERVE(observe::address(condition), object, kind), FIBERPROF_OBJECT_CONDITION);
    EXPECT_EQ(waiters(observe::address(condition)), on_condition);
    EXPECT_EQ(name_of(observe::address(condition)), "changed");

    auto* semaphore = immortal<fiber::Semaphore>(2, 9);
    const Ids on_semaphore = {park_one(semaphore, [=] { semaphore->acquire(3); })};
    EXPECT_EQ(OBSERVE(observe::address(semaphore), object, kind), FIBERPROF_OBJECT_SEMAPHORE);
    EXPECT_EQ(OBSERVE(observe::address(semaphore), object, count), 2u);
    EXPECT_EQ(OBSERVE(observe::address(semaphore), semaphore, most), 9u);
    EXPECT_EQ(waiters(observe::address(semaphore)), on_semaphore);

    auto* barrier = immortal<fiber::Barrier>(3);
    const Ids on_barrier = {park_one(barrier, [=] { barrier->arrive_and_wait(); })};
    EXPECT_EQ(OBSERVE(observe::address(barrier), object, kind), FIBERPROF_OBJECT_BARRIER);
    EXPECT_EQ(OBSERVE(observe::address(barrier), object, count), 1u);
    EXPECT_EQ(OBSERVE(observe::address(barrier), barrier, parties), 3u);
    EXPECT_EQ(waiters(observe::address(barrier)), on_barrier);

    auto* group = immortal<fiber::WaitGroup>(1);
    const fiber::WaitGroup::Token token = group->token();
    const Ids on_group = {park_one(group, [=] { group->wait(); })};
    EXPECT_EQ(OBSERVE(observe::address(group), object, kind), FIBERPROF_OBJECT_WAIT_GROUP);
    EXPECT_EQ(OBSERVE(observe::address(group), object, count), 2u);
    EXPECT_EQ(OBSERVE(observe::address(group), wait_group, tokens), 1u);
    EXPECT_EQ(waiters(observe::address(group)), on_group);

    auto* once = immortal<fiber::Once>();
    const std::uint64_t runner = park_one(semaphore, [=] { once->call([=] { semaphore->acquire(); }); });
    const Ids on_once = {park_one(once, [=] { once->call([] {}); })};
    EXPECT_EQ(OBSERVE(observe::address(once), object, kind), FIBERPROF_OBJECT_ONCE);
    EXPECT_EQ(OBSERVE(observe::address(once), object, owner), runner);
    EXPECT_EQ(OBSERVE(observe::address(once), object, count), 1u);
    EXPECT_EQ(waiters(observe::address(once)), on_once);
  });
}

TEST_P(Objects, Channels) {
  run([] {
    fiber::Channel<int> channel(2, "jobs");
    const Address object = observe::address(channel.core());
    EXPECT_EQ(OBSERVE(object, object, kind), FIBERPROF_OBJECT_CHANNEL);
    EXPECT_EQ(name_of(object), "jobs");
    EXPECT_EQ(OBSERVE(object, channel, capacity), 2u);
    EXPECT_EQ(OBSERVE(object, channel, length), 0u);
    EXPECT_EQ(OBSERVE(object, channel, closed), 0u);
    EXPECT_NE(OBSERVE(object, channel, creator_pc), 0u);
    EXPECT_EQ(OBSERVE(object, channel, send_rights), 1u);
    EXPECT_EQ(OBSERVE(object, channel, receive_rights), 1u);

    const std::uint64_t receiver = park_one(channel.core(), [in = channel.receiver()]() mutable { in.receive(); });
    EXPECT_EQ(OBSERVE(object, channel, send_rights), 1u) << "a receiver cannot send";
    EXPECT_EQ(OBSERVE(object, channel, receive_rights), 2u);
    EXPECT_EQ(walk(OBSERVE(object, channel, receivers)), Ids{receiver});
    EXPECT_TRUE(waiters(object).empty());
    channel.send(1);
    while (OBSERVE(object, channel, receive_rights) != 1) fiber::yield();
    channel.send(2);
    channel.send(3);
    const Ids senders = {park_one(channel.core(), [out = channel.sender()]() mutable { out.send(4); }),
                         park_one(channel.core(), [out = channel.sender()]() mutable { out.send(5); })};
    EXPECT_EQ(OBSERVE(object, channel, length), 2u);
    EXPECT_EQ(OBSERVE(object, channel, send_rights), 3u);
    EXPECT_EQ(waiters(object), senders);
    EXPECT_EQ(OBSERVE(object, channel, receivers), 0u);
    {
      const fiber::Sender<int> more = channel.sender();
      const fiber::Sender<int> moved = std::move(channel);
      EXPECT_EQ(OBSERVE(object, channel, send_rights), 4u);
    }
    EXPECT_EQ(OBSERVE(object, channel, send_rights), 2u);

    fiber::Timer timer(1h);
    const Address ticks = observe::address(timer.channel().core());
    EXPECT_EQ(OBSERVE(ticks, channel, timers), 1u);
    timer.stop();
    EXPECT_EQ(OBSERVE(ticks, channel, timers), 0u);
    timer.reset(0ms);
    timer.channel().receive();
    EXPECT_EQ(OBSERVE(ticks, channel, timers), 0u);
  });
}

TEST_P(Objects, ASelectWaitsInTheQueuesOfAllItsChannels) {
  run([] {
    fiber::Channel<int> in, out;
    const std::uint64_t id = park_one(in.core(), [=] {
      fiber::select(fiber::on_receive(in, [](auto) {}), fiber::on_send(out, 1, [] {}), fiber::after(1h, [] {}));
    });
    EXPECT_EQ(walk(OBSERVE(observe::address(in.core()), channel, receivers)), Ids{id});
    EXPECT_EQ(waiters(observe::address(out.core())), Ids{id});
    const Address fiber = slot(id);
    EXPECT_EQ(OBSERVE(fiber, fiber, arms_len), 2u);
    EXPECT_NE(OBSERVE(fiber, fiber, deadline), 0u);
    in.send(1);
    while (OBSERVE(fiber, fiber, id) == id) fiber::yield();  // until it has ended
    EXPECT_EQ(OBSERVE(observe::address(out.core()), object, waiters), 0u);
  });
}

TEST_P(Objects, LimitsAndContexts) {
  run([] {
    fiber::CancelSource outer = fiber::with_cancel();
    fiber::CancelSource source = fiber::with_cancel(outer.context());
    const fiber::Deadline deadline = fiber::Clock::now() + 1h;
    const fiber::Context context = fiber::with_deadline(source.context(), deadline);
    fiber::Channel<int> silent;
    fiber::Channel<fiber::Status> ended(1);
    const std::uint64_t id = park_one(silent.core(), [=]() mutable { ended.send(silent.receive(context).status); });
    const Address fiber = slot(id);
    EXPECT_EQ(OBSERVE(fiber, fiber, deadline), static_cast<std::uint64_t>(deadline.time_since_epoch().count()));
    const Address at = OBSERVE(fiber, fiber, context);
    EXPECT_EQ(at, observe::address(context.core()));
    EXPECT_EQ(OBSERVE(at, object, kind), FIBERPROF_OBJECT_CONTEXT);
    EXPECT_EQ(OBSERVE(at, context, deadline), static_cast<std::uint64_t>(deadline.time_since_epoch().count()));
    EXPECT_EQ(OBSERVE(at, context, sources), 0u) << "has none of its own";
    const Address scope = OBSERVE(at, context, scope);
    EXPECT_EQ(scope, observe::address(source.context().core()));
    EXPECT_EQ(OBSERVE(at, context, parent), scope);
    EXPECT_EQ(OBSERVE(scope, context, parent), observe::address(outer.context().core()));
    EXPECT_EQ(OBSERVE(scope, context, sources), 1u);
    EXPECT_EQ(OBSERVE(scope, context, deadline), static_cast<std::uint64_t>(INT64_MAX));
    EXPECT_EQ(OBSERVE(scope, object, count), 0u);
    EXPECT_EQ(waiters(scope), Ids{id});
    outer.cancel();
    EXPECT_EQ(ended.receive(), fiber::Status::cancelled);
    EXPECT_EQ(OBSERVE(scope, context, sources), 0u);
    EXPECT_EQ(OBSERVE(scope, object, count), 1u);
    EXPECT_TRUE(waiters(scope).empty());

    // A wait for a context itself, and one that nothing limits.
    fiber::CancelSource other = fiber::with_cancel();
    const std::uint64_t watcher = park_one(other.context().core(), [watched = other.context()] { watched.wait(); });
    EXPECT_EQ(OBSERVE(slot(watcher), fiber, reason), FIBERPROF_REASON_CONTEXT);
    EXPECT_EQ(OBSERVE(slot(watcher), fiber, deadline), 0u);
    EXPECT_EQ(OBSERVE(slot(watcher), fiber, context), 0u);
    EXPECT_EQ(waiters(observe::address(other.context().core())), Ids{watcher});
  });
}
