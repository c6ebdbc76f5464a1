// SPDX-License-Identifier: BSD-2-Clause
// Only what is not quite a pointer leads to the only sender.
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "goker/healthy/healthy.h"

namespace healthy {

namespace {

using Sender = fiber::Sender<int>;

struct Box {
  char before[256];
  Sender sender;
  char after[256];
};

void interior(Time time) {
  kept_as(time, [](Sender sender) {
    return [last = (new Box{{}, std::move(sender), {}})->after + 255] {
      Box* box = reinterpret_cast<Box*>(last - 255 - offsetof(Box, after));
      box->sender.send(1);
      delete box;
    };
  });
}
const Registration r15({"15", "interior", "through a pointer to the end of its object", interior});

void tagged(Time time) {
  kept_as(time, [](Sender sender) {
    return [word = reinterpret_cast<std::uintptr_t>(new Sender(std::move(sender))) | 5] {
      auto* kept = reinterpret_cast<Sender*>(word & ~std::uintptr_t{7});
      kept->send(1);
      delete kept;
    };
  });
}
const Registration r15b({"15b", "tagged", "through a pointer with a tag in its low bits", tagged});

void tagged_above(Time time) {
  kept_as(time, [](Sender sender) {
    return [word = reinterpret_cast<std::uintptr_t>(new Sender(std::move(sender))) | 0xbeef'0000'0000'0000] {
      auto* kept = reinterpret_cast<Sender*>(word & 0x0000'ffff'ffff'ffff);
      kept->send(1);
      delete kept;
    };
  });
}
const Registration r15c({"15c", "tagged_above", "through a pointer with a tag in its high bits", tagged_above});

void unaligned(Time time) {
  kept_as(time, [](Sender sender) {
    auto* kept = new Sender(std::move(sender));
    std::array<char, 24> bytes{};
    std::memcpy(&bytes[3], &kept, sizeof(kept));
    return [bytes] {
      Sender* found;
      std::memcpy(&found, &bytes[3], sizeof(found));
      found->send(1);
      delete found;
    };
  });
}
const Registration r15d({"15d", "unaligned", "through a pointer at an odd address", unaligned});

// The waiter's own is the last reference that counts.
void weak(Time time) {
  struct Session {
    fiber::Channel<int> inbox;
  };
  auto session = std::make_shared<Session>();
  auto keeper = later(time, [found = std::weak_ptr(session)] {
    if (auto locked = found.lock()) locked->inbox.send(1);
  });
  auto waiter = fiber::spawn({.name = "waiter"}, [own = std::move(session)] { own->inbox.receive(); });
  waiter.join();
  keeper.join();
}
const Registration r15e({"15e", "weak", "through a weak pointer", weak});

// A list whose links are the exclusive or of both neighbours, and whose beginning is hidden, too.
struct XorNode {
  std::uintptr_t both = 0;
  Sender sender;
  fiber::ExternalRef listed;
};
constexpr std::uintptr_t kHide = 0x5a5a'5a5a'5a5a'5a5a;
// Not what the compiler would undo.
std::uintptr_t hidden(const void* pointer) {
  std::uintptr_t word = reinterpret_cast<std::uintptr_t>(pointer);
  asm("" : "+r"(word));
  return word ^ kHide;
}

void xor_list(Time time) {
  std::uintptr_t begin = 0;
  constexpr int kNodes = 8;
  XorNode* last = nullptr;
  std::vector<fiber::JoinHandle<void>> waiters;
  for (int i = 0; i < kNodes; ++i) {
    auto [sender, waiter] = await_value();
    waiters.push_back(std::move(waiter));
    auto* node = new XorNode{reinterpret_cast<std::uintptr_t>(last), std::move(sender), {}};
    node->listed = fiber::ExternalRef(node);
    if (last == nullptr)
      begin = hidden(node);
    else
      last->both ^= reinterpret_cast<std::uintptr_t>(node);
    last = node;
  }
  auto keeper = later(time, [begin] {
    auto* node = reinterpret_cast<XorNode*>(begin ^ kHide);
    for (std::uintptr_t previous = 0; node != nullptr;) {
      node->sender.send(1);
      const std::uintptr_t self = reinterpret_cast<std::uintptr_t>(node), next = node->both ^ previous;
      delete node;
      previous = self;
      node = reinterpret_cast<XorNode*>(next);
    }
  });
  for (auto& waiter : waiters) waiter.join();
  keeper.join();
}
const Registration r15g({"15g", "xor_list", "in an XOR list that is declared to tools", xor_list});

// The only sender is bytes in a pipe.
void in_pipe(Time time) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  auto [sender, waiter] = await_value();
  {
    fiber::ExternalRef on_its_way(sender);
    alignas(Sender) char bytes[sizeof(Sender)];
    new (bytes) Sender(std::move(sender));
    if (write(ends[1], bytes, sizeof bytes) != sizeof bytes) std::abort();
    std::memset(bytes, 0, sizeof bytes);
    asm volatile("" : : "r"(bytes) : "memory");
    auto keeper = later(time, [from = ends[0]] {
      alignas(Sender) char received[sizeof(Sender)];
      if (read(from, received, sizeof received) != sizeof received) std::abort();
      auto* arrived = std::launder(reinterpret_cast<Sender*>(received));
      arrived->send(1);
      arrived->~Sender();
    });
    waiter.join();
    keeper.join();
  }
  close(ends[0]);
  close(ends[1]);
}
const Registration r15h({"15h", "in_pipe", "as bytes in a pipe, which is declared to tools", in_pipe});

}  // namespace

}  // namespace healthy
