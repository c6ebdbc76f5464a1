// SPDX-License-Identifier: BSD-2-Clause
#include "program.h"

#include <fiber/all.h>

#include <thread>
#include <vector>

#include "actor.h"
#include "world.h"

namespace random_program {

namespace {

void start_channel(World& world, std::uint32_t channel, fiber::WaitGroup& all) {
  fiber::go({.name = "drainer"},
            [&world, channel, token = all.token()] { Actor(world, 0, 0, 0, true).drain(channel); });
  fiber::go({.name = "closer"}, [&world, channel, token = all.token()] {
    world.senders[channel]->wait();
    world.channels[channel].close();
  });
}

void run(World& world, Random& shape, bool foreign_threads) {
  fiber::WaitGroup all, actors;
  std::vector<std::thread> threads;
  const unsigned fibers = static_cast<unsigned>(2 + shape() % 8);
  const unsigned foreign = shape() % 4 == 0 && foreign_threads ? 1 : 0;
  for (unsigned i = 0; i < fibers + foreign; ++i) {
    const unsigned level = static_cast<unsigned>(shape() % world.channels.size());
    const unsigned operations = static_cast<unsigned>(5 + shape() % 40);
    std::vector<fiber::WaitGroup::Token> may_send;
    for (std::size_t c = level; c < world.channels.size(); ++c) may_send.push_back(world.senders[c]->token());
    auto body = [&world, i, level, operations, is_fiber = i < fibers, token = actors.token(),
                 may_send = std::move(may_send)]() mutable {
      Actor(world, world.seed * 1000 + i, level, 2, is_fiber).act(operations);
      may_send.clear();
    };
    if (i < fibers) {
      fiber::go({.name = "actor"}, std::move(body));
    } else {
      threads.emplace_back(std::move(body));
    }
  }
  for (std::uint32_t channel = 0; channel < world.channels.size(); ++channel) start_channel(world, channel, all);

  std::atomic<bool> stop{false};
  fiber::go({.name = "canceller"}, [&world, order = shape(), token = all.token()] { world.cancel_all(order); });
  fiber::go({.name = "feeder"},
            [&world, &stop, how = shape(), token = all.token()] { world.feed(how % 2 == 0, stop); });

  actors.wait();
  stop = true;
  all.wait();
  if (!threads.empty()) {
    fiber::blocking([&] {
      for (std::thread& thread : threads) thread.join();
    });
  }
}

}  // namespace

Outcome run_program(std::uint64_t seed, const Where& where) {
  Outcome outcome;
  fiber::run(fiber::Options{.processors = where.processors, .seed = where.seeded ? seed : 0}, [&] {
    Random shape(seed);
    World world(seed, shape);
    // A thread is nothing that a seed determines.
    run(world, shape, !where.seeded);
    world.check();
    outcome = {world.history.found(), world.history.operations()};
  });
  return outcome;
}

}  // namespace random_program
