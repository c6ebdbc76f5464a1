// SPDX-License-Identifier: BSD-2-Clause
#include <algorithm>
#include <stdexcept>

#include "actor.h"

namespace random_program {

using fiber::Status;
using Token = fiber::WaitGroup::Token;

void Actor::children() {
  if (depth_ == 0) return;
  const unsigned count = static_cast<unsigned>(1 + pick(3)), operations = static_cast<unsigned>(1 + pick(8));
  switch (pick(3)) {
    case 0:
      return joined_children(count, operations);
    case 1:
      return counted_children(count, operations);
    case 2:
      return children_in_step(count, operations);
  }
}

std::unique_ptr<Actor> Actor::child() { return std::make_unique<Actor>(world_, random_(), level_, depth_ - 1, true); }

void Actor::joined_children(unsigned count, unsigned operations) {
  std::vector<fiber::JoinHandle<std::size_t>> handles;
  std::vector<std::unique_ptr<Actor>> actors;
  const bool throws = pick(4) == 0;
  for (unsigned i = 0; i < count; ++i) {
    actors.push_back(child());
    handles.push_back(fiber::spawn([actor = actors.back().get(), operations, throws] {
      actor->act(operations);
      if (throws) throw std::runtime_error(std::to_string(actor->id()));
      return actor->sent();
    }));
  }
  if (pick(2) == 0) {
    const Chosen chosen = limit(false);
    check_status(handles.front().wait(chosen.limit), chosen);
  }
  for (unsigned i = 0; i < count; ++i) {
    try {
      const std::size_t sent = handles[i].join();
      expect(!throws && sent == actors[i]->sent(), "a join gave another result");
    } catch (const std::runtime_error& error) {
      expect(throws && error.what() == std::to_string(actors[i]->id()), "a join threw another exception");
    }
  }
}

// Each has a token, which it gives up in one of the ways there are, or sends to a keeper. `living` counts beside them.
void Actor::counted_children(unsigned count, unsigned operations) {
  fiber::WaitGroup all;
  fiber::Channel<Token> given(count);
  std::atomic<unsigned> living{count};
  unsigned to_keeper = 0;
  for (unsigned i = 0; i < count; ++i) {
    const std::uint64_t how = pick(4);
    to_keeper += how == 3;
    fiber::go([actor = child(), operations, how, &living, given, token = all.token()]() mutable {
      actor->act(operations);
      Token moved = std::move(token);
      if (how == 3) return given.send(std::move(moved));
      --living;
      if (how == 0) moved.done();
      if (how == 1) moved = Token();
    });
  }
  fiber::go([&living, given, to_keeper, token = all.token()]() mutable {
    std::vector<Token> kept;
    while (kept.size() < to_keeper) kept.push_back(std::move(*given.receive()));
    fiber::yield();
    living -= to_keeper;
    kept.clear();
  });
  if (pick(2) == 0) {
    const Chosen chosen = limit(false);
    const Status status = all.wait(chosen.limit);
    check_status(status, chosen);
    expect(status != Status::done || living == 0, "a wait group was done too early");
  }
  all.wait();
  expect(living == 0, "a wait group was done too early");
}

// They meet at a barrier, again and again: nobody is more than one round ahead, and one of each round was the last.
void Actor::children_in_step(unsigned count, unsigned operations) {
  const unsigned rounds = static_cast<unsigned>(1 + pick(3));
  fiber::Barrier barrier(count);
  std::vector<std::atomic<unsigned>> reached(count);
  std::vector<std::atomic<unsigned>> last_ones(rounds + 1);
  fiber::WaitGroup all;
  for (unsigned i = 0; i < count; ++i) {
    fiber::go([&, i, actor = child(), token = all.token()] {
      for (unsigned round = 1; round <= rounds; ++round) {
        actor->act(operations);
        reached[i] = round;
        bool last = false;
        Status status = Status::timed_out;
        for (std::uint64_t tries = actor->pick(3); tries > 0 && status != Status::done; --tries) {
          const Chosen chosen = actor->limit(true);
          status = barrier.arrive_and_wait(chosen.limit, &last);
          actor->check_status(status, chosen);
        }
        if (status != Status::done) last = barrier.arrive_and_wait();
        for (const std::atomic<unsigned>& other : reached) {
          actor->expect(other >= round, "a barrier let somebody go before all had come");
          actor->expect(other <= round + 1, "somebody passed a barrier twice");
        }
        last_ones[round] += last;
      }
    });
  }
  all.wait();
  expect(std::all_of(last_ones.begin() + 1, last_ones.end(), [](const auto& number) { return number == 1; }),
         "a round of a barrier had not exactly one last party");
}

}  // namespace random_program
