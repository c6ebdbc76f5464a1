// SPDX-License-Identifier: BSD-2-Clause
// The only sender is where nobody thinks of looking.
#include <sys/mman.h>
#include <unistd.h>

#include <any>
#include <array>
#include <coroutine>
#include <cstdint>
#include <cstdlib>
#include <exception>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <memory_resource>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "goker/healthy/healthy.h"

namespace healthy {

namespace {

using Sender = fiber::Sender<int>;

std::map<std::string, std::weak_ptr<fiber::Channel<int>>> cache;

void weak_cache(Time time) {
  auto inbox = std::make_shared<fiber::Channel<int>>();
  cache["inbox"] = inbox;
  auto waiter = fiber::spawn({.name = "waiter"}, [own = std::move(inbox)] { own->receive(); });
  auto keeper = later(time, [] {
    if (auto locked = cache.at("inbox").lock()) locked->send(1);
  });
  waiter.join();
  keeper.join();
  cache.clear();
}
const Registration r18({"18", "weak_cache", "in a global cache of weak pointers", weak_cache});

std::vector<std::unique_ptr<Sender>> pool;

void object_pool(Time time) {
  auto [sender, waiter] = await_value();
  for (int i = 0; i < 10; ++i) pool.push_back(std::make_unique<Sender>());
  *pool[7] = std::move(sender);
  auto keeper = later(time, [index = 7u] { pool[index]->send(1); });
  waiter.join();
  keeper.join();
  pool.clear();
}
const Registration r19({"19", "object_pool", "in a pool, known by its index", object_pool});

std::vector<std::function<void()>> callbacks;

void callback(Time time) {
  auto [sender, waiter] = await_value();
  callbacks.emplace_back([kept = std::move(sender), padding = std::array<char, 64>{}]() mutable { kept.send(1); });
  auto keeper = later(time, [] { callbacks.back()(); });
  waiter.join();
  keeper.join();
  callbacks.clear();
}
const Registration r20({"20", "callback", "in the closure of a std::function", callback});

void any_and_variant(Time time) {
  kept_as(time, [](Sender sender) {
    using Either = std::variant<int, std::string, Sender>;
    std::vector<std::any> all{1, std::string("text"), std::make_shared<Either>(std::move(sender))};
    return [all]() mutable { std::get<Sender>(*std::any_cast<std::shared_ptr<Either>&>(all[2])).send(1); };
  });
}
const Registration r21({"21", "any_and_variant", "in a variant in an any", any_and_variant});

constexpr std::size_t kRegion = 64 * 1024;

void mapped(Time time) {
  kept_as(time, [](Sender sender) {
    void* region = mmap(nullptr, kRegion, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    new (static_cast<char*>(region) + 40'000) Sender(std::move(sender));
    return [region] {
      auto* kept = reinterpret_cast<Sender*>(static_cast<char*>(region) + 40'000);
      kept->send(1);
      kept->~Sender();
      munmap(region, kRegion);
    };
  });
}
const Registration r22({"22", "mapped", "in memory of a mapping of its own", mapped});

// Written through one mapping, used through another.
void shared_mapping(Time time) {
  kept_as(time, [](Sender sender) {
    const int file = memfd_create("healthy", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, kRegion) != 0) std::abort();
    void* first = mmap(nullptr, kRegion, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    void* second = mmap(nullptr, kRegion, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    new (static_cast<char*>(first) + 8'000) Sender(std::move(sender));
    munmap(first, kRegion);
    return [second] {
      auto* kept = reinterpret_cast<Sender*>(static_cast<char*>(second) + 8'000);
      kept->send(1);
      kept->~Sender();
      munmap(second, kRegion);
    };
  });
}
const Registration r22b({"22b", "shared_mapping", "in shared memory of a file", shared_mapping});

void large_chunk(Time time) {
  kept_as(time, [](Sender sender) {
    auto all = std::make_unique<std::vector<Sender>>(200'000);
    (*all)[150'000] = std::move(sender);
    return [all = std::move(all)] { (*all)[150'000].send(1); };
  });
}
const Registration r23({"23", "large_chunk", "far into an allocation of a mapping of its own", large_chunk});

void overaligned(Time time) {
  struct alignas(4096) Page {
    char before[2048];
    Sender sender;
  };
  kept_as(time, [](Sender sender) {
    auto page = std::make_unique<Page>();
    page->sender = std::move(sender);
    return [page = std::move(page)] { page->sender.send(1); };
  });
}
const Registration r23b({"23b", "overaligned", "in an allocation with an alignment", overaligned});

void arena(Time time) {
  struct Arena {
    std::array<std::byte, 4096> bytes;
    std::pmr::monotonic_buffer_resource resource{bytes.data(), bytes.size()};
  };
  kept_as(time, [](Sender sender) {
    auto owner = std::make_unique<Arena>();
    for (int i = 0; i < 20; ++i) static_cast<void>(owner->resource.allocate(100));
    auto* kept = new (owner->resource.allocate(sizeof(Sender), alignof(Sender))) Sender(std::move(sender));
    return [kept, owner = std::move(owner)] {
      kept->send(1);
      kept->~Sender();
    };
  });
}
const Registration r23c({"23c", "arena", "in an arena", arena});

void long_list(Time time) {
  kept_as(time, [](Sender sender) {
    std::list<Sender> all(200'000);
    all.back() = std::move(sender);
    return [all = std::move(all)]() mutable { all.back().send(1); };
  });
}
const Registration r24({"24", "long_list", "at the end of a long list", long_list});

fiber::Local<Sender> local;

void fiber_local(Time time) {
  auto [sender, waiter] = await_value();
  auto keeper = fiber::spawn({.name = "keeper"}, [time, sent = std::move(sender)]() mutable {
    *local = std::move(sent);
    fiber::sleep_for(time);
    local->send(1);
  });
  waiter.join();
  keeper.join();
}
const Registration r25({"25", "fiber_local", "in a sleeping fiber's local value", fiber_local});

void result(Time time) {
  auto [sender, waiter] = await_value();
  auto maker = fiber::spawn([sent = std::move(sender)]() mutable { return std::move(sent); });
  maker.wait();
  auto keeper = later(time, [ended = std::move(maker)]() mutable { ended.join().send(1); });
  waiter.join();
  keeper.join();
}
const Registration r26({"26", "result", "the result of a fiber that nobody has joined yet", result});

void exception(Time time) {
  kept_as(time, [](Sender sender) {
    std::exception_ptr thrown;
    try {
      throw std::move(sender);
    } catch (...) {
      thrown = std::current_exception();
    }
    return [thrown = std::move(thrown)] {
      try {
        std::rethrow_exception(thrown);
      } catch (Sender& caught) {
        caught.send(1);
      }
    };
  });
}
const Registration r27({"27", "exception", "in an exception", exception});

constexpr fiber::ContextKey<Sender> carried;

void context_value(Time time) {
  kept_as(time, [](Sender sender) {
    const fiber::Context outer = fiber::with_value({}, carried, std::move(sender));
    return [context = fiber::with_timeout(outer, 24h)] { Sender(*context.value(carried)).send(1); };
  });
}
const Registration r28({"28", "context_value", "a value that a context carries", context_value});

struct Coroutine {
  struct promise_type {
    Coroutine get_return_object() { return {std::coroutine_handle<promise_type>::from_promise(*this)}; }
    std::suspend_always initial_suspend() noexcept { return {}; }
    std::suspend_always final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() { std::terminate(); }
  };
  std::coroutine_handle<promise_type> handle;
};

Coroutine send_when_resumed(Sender sender) {
  co_await std::suspend_always();
  sender.send(1);
}

void coroutine(Time time) {
  kept_as(time, [](Sender sender) {
    const Coroutine suspended = send_when_resumed(std::move(sender));
    suspended.handle.resume();
    return [handle = suspended.handle] {
      handle.resume();
      handle.destroy();
    };
  });
}
const Registration r29({"29", "coroutine", "in the frame of a suspended coroutine", coroutine});

[[gnu::noinline]] void sleep_deep_down(int depth, Time time) {
  std::array<char, 800> frame;
  asm volatile("" : : "r"(frame.data()) : "memory");
  if (depth == 0) {
    fiber::sleep_for(time);
  } else {
    sleep_deep_down(depth - 1, time);
  }
  asm volatile("" : : "r"(frame.data()) : "memory");
}

void deep_stack(Time time) {
  auto [sender, waiter] = await_value();
  auto keeper = fiber::spawn({.name = "keeper"}, [time, sent = std::move(sender)]() mutable {
    sleep_deep_down(80, time);
    sent.send(1);
  });
  waiter.join();
  keeper.join();
}
const Registration r30({"30", "deep_stack", "at the far end of a deep stack", deep_stack});

#if defined(__x86_64__)
// Counts down with what `cell` pointed to nowhere but in a vector register.
[[gnu::noinline]] void hide_in_register(void** cell, std::uint64_t count) {
  asm volatile(
      "movq (%[cell]), %%xmm7\n"
      "movq $0, (%[cell])\n"
      "1: pause\n"
      "dec %[count]\n"
      "jnz 1b\n"
      "movq %%xmm7, (%[cell])\n"
      : [count] "+r"(count)
      : [cell] "r"(cell)
      : "xmm7", "memory", "cc");
}

void in_register(Time time) {
  auto [sender, waiter] = await_value();
  auto keeper = fiber::spawn({.name = "keeper"}, [time, cell = std::make_unique<void*>(new Sender(std::move(sender)))] {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) hide_in_register(cell.get(), 100'000);
    auto* kept = static_cast<Sender*>(*cell);
    kept->send(1);
    delete kept;
  });
  waiter.join();
  keeper.join();
}
const Registration r31({"31", "in_register", "in a vector register of a fiber that runs", in_register});
#endif

}  // namespace

}  // namespace healthy
