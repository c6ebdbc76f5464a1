// SPDX-License-Identifier: BSD-2-Clause
#include "world.h"

#include <chrono>
#include <mutex>

namespace random_program {

namespace {

using namespace std::chrono_literals;

std::vector<std::size_t> draw_capacities(Random& shape) {
  std::vector<std::size_t> result(1 + shape() % 4);
  for (std::size_t& capacity : result) capacity = shape() % 2 == 0 ? 0 : 1 + shape() % 4;
  return result;
}

}  // namespace

World::World(std::uint64_t its_seed, Random& shape)
    : seed(its_seed), capacities(draw_capacities(shape)), history(capacities) {
  for (const std::size_t capacity : capacities) {
    channels.emplace_back(capacity);
    senders.push_back(std::make_unique<fiber::WaitGroup>());
  }
  for (std::uint64_t i = 1 + shape() % 4; i-- > 0;) {
    const auto kind = static_cast<Lock::Kind>(shape() % 3);
    locks.push_back(std::make_unique<Lock>(kind, static_cast<std::int64_t>(1 + shape() % 4)));
  }
  for (std::uint64_t i = 1 + shape() % 3; i-- > 0;) {
    onces.push_back(std::make_unique<OnlyOnce>());
    onces.back()->failures = static_cast<int>(shape() % 3);
  }
  for (std::uint64_t i = 1 + shape() % 3; i-- > 0;) {
    // Some are derived from others, and some have a deadline.
    const fiber::Context parent = contexts.empty() || shape() % 2 == 0 ? fiber::Context() : contexts.back();
    sources.push_back(fiber::with_cancel(parent));
    const fiber::Context& context = sources.back().context();
    contexts.push_back(shape() % 2 == 0 ? context
                                        : fiber::with_timeout(context, std::chrono::microseconds(shape() % 2000)));
  }
}

void World::cancel_all(std::uint64_t order) {
  for (fiber::CancelSource& source : sources) {
    fiber::sleep_for(std::chrono::microseconds(order % 700));
    source.cancel();
  }
}

void World::feed(bool sleeping, const std::atomic<bool>& stop) {
  while (!stop) {
    {
      std::lock_guard guard(token_mutex);
      ++tokens;
      ++tokens_made;
    }
    token_added.notify_one();
    if (sleeping) {
      fiber::sleep_for(20us);
    } else {
      fiber::yield();
    }
  }
}

void World::check() {
  history.check();
  for (const auto& lock : locks) {
    if (lock->before != lock->expected || lock->after != lock->expected) history.wrong("a critical section was lost");
    if (lock->semaphore.available() != lock->permits) history.wrong("permits were lost or made of nothing");
  }
  for (const auto& only : onces) {
    if (only->completed > 1 || only->once.done() != (only->completed == 1)) {
      history.wrong("a once does not know whether it is done");
    }
  }
  if (tokens_made != tokens_taken + tokens) history.wrong("tokens were lost or made of nothing");
}

}  // namespace random_program
