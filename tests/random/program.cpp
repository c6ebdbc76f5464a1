// SPDX-License-Identifier: BSD-2-Clause
#include "program.h"

#include <fiber/all.h>

#include <unistd.h>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "history.h"

namespace random_program {

namespace {

using namespace std::chrono_literals;
using fiber::Status;
// Owns memory, so that a value moved twice or not at all shows.
using Value = std::unique_ptr<Message>;
using Random = std::mt19937_64;

class Program {
 public:
  Program(std::uint64_t seed, Random& shape);
  void run(Random& shape);
  Outcome outcome() {
    history_.check();
    for (const auto& lock : locks_) {
      if (lock->entered != lock->expected) history_.wrong("a critical section was lost");
    }
    return {history_.found(), history_.operations()};
  }

 private:
  struct Lock {
    fiber::Mutex mutex;
    int inside = 0;  // not atomic on purpose: what the mutex guards
    long entered = 0;
    std::atomic<long> expected{0};
  };

  // What one fiber, or thread, does.
  class Actor {
   public:
    Actor(Program& program, std::uint64_t seed, unsigned level, int depth, bool is_fiber)
        : program_(program),
          random_(seed),
          level_(level),
          depth_(depth),
          is_fiber_(is_fiber),
          log_(program.history_.new_log(id_)),
          sequences_(program.channels_.size()) {}

    void act(unsigned operations) {
      for (unsigned i = 0; i < operations; ++i) {
        ++log_.operations;
        act_once();
      }
    }
    void drain(std::uint32_t channel) {
      while (receive(channel)) {
      }
    }
    std::uint32_t id() const { return id_; }
    std::size_t sent() const { return log_.sent.size(); }

   private:
    std::uint64_t pick(std::uint64_t count) { return random_() % count; }
    std::uint32_t any_channel() { return static_cast<std::uint32_t>(pick(program_.channels_.size())); }
    std::uint32_t my_channel() { return static_cast<std::uint32_t>(level_ + pick(program_.channels_.size() - level_)); }
    bool may_wait_for(std::uint32_t channel) const { return channel < level_ && held_ == 0; }
    std::chrono::microseconds short_time() { return std::chrono::microseconds(pick(4) == 0 ? 0 : pick(150)); }
    void expect(bool holds, const char* what) {
      if (!holds) program_.history_.wrong("actor " + std::to_string(id_) + ": " + what);
    }

    void act_once() {
      switch (pick(is_fiber_ ? 16 : 9)) {
        case 0:
        case 1:
          send(my_channel(), limit(true));
          break;
        case 2:
          receive_somehow();
          break;
        case 3:
          try_send(my_channel());
          break;
        case 4:
          try_receive(any_channel());
          break;
        case 5:
        case 6:
          lock_something(0);
          break;
        case 7:
          wait_for_token();
          break;
        case 8:
          sleep();
          break;
        case 9:
          fiber::yield();
          break;
        case 10:
        case 11:
        case 12:
          select();
          break;
        case 13:
        case 14:
          children();
          break;
        case 15:
          fiber::blocking([&] { usleep(static_cast<useconds_t>(pick(80))); });
          break;
      }
    }

    // --- limits
    struct Chosen {
      fiber::Limit limit;
      fiber::Deadline deadline = fiber::Deadline::max();
      const fiber::Context* context = nullptr;
    };
    Chosen limit(bool may_be_none) {
      Chosen chosen;
      const std::uint64_t kind = pick(may_be_none ? 5 : 3);
      if (kind == 0 || kind == 2) chosen.deadline = fiber::Clock::now() + short_time();
      if (kind == 1 || kind == 2) chosen.context = &program_.contexts_[pick(program_.contexts_.size())];
      chosen.limit =
          chosen.context == nullptr ? fiber::Limit(chosen.deadline) : fiber::Limit(*chosen.context, chosen.deadline);
      return chosen;
    }
    void check_status(Status status, const Chosen& chosen) {
      if (status == Status::timed_out) expect(fiber::Clock::now() >= chosen.deadline, "timed out early");
      if (status == Status::cancelled) {
        expect(chosen.context != nullptr && chosen.context->cancelled(),
               "cancelled by a context that is not cancelled");
      }
    }

    // --- channels
    Value next_value(std::uint32_t channel) {
      return std::make_unique<Message>(Message{channel, id_, sequences_[channel]});
    }
    void has_sent(const Message& message, Moment start) {
      log_.sent.push_back({message, start, program_.history_.now()});
      ++sequences_[message.channel];
    }
    void has_received(std::uint32_t channel, Value value, Moment start) {
      const Moment end = program_.history_.now();
      if (value == nullptr) {
        expect(false, "received an empty value");
        return;
      }
      expect(value->channel == channel, "received another channel's value");
      log_.received.push_back({*value, start, end});
    }
    void saw_closed(std::uint32_t channel) { log_.closed.push_back({channel, program_.history_.now()}); }

    void send(std::uint32_t channel, const Chosen& chosen) {
      Value value = next_value(channel);
      const Message message = *value;
      const Moment start = program_.history_.now();
      if (chosen.limit.none() && pick(2) == 0) {
        program_.channels_[channel].send(std::move(value));
        has_sent(message, start);
        return;
      }
      const Status status = program_.channels_[channel].send(value, chosen.limit);
      if (status == Status::done) {
        has_sent(message, start);
      } else {
        check_status(status, chosen);
        expect(status != Status::closed, "a send saw a closed channel");
        expect(value != nullptr, "a send that failed took the value");
      }
    }
    void try_send(std::uint32_t channel) {
      Value value = next_value(channel);
      const Message message = *value;
      const Moment start = program_.history_.now();
      if (program_.channels_[channel].try_send(value)) {
        has_sent(message, start);
      } else {
        expect(value != nullptr, "a try_send that failed took the value");
      }
    }
    // False: closed.
    bool receive(std::uint32_t channel) {
      const Moment start = program_.history_.now();
      std::optional<Value> value = program_.channels_[channel].receive();
      if (!value.has_value()) {
        saw_closed(channel);
        return false;
      }
      has_received(channel, std::move(*value), start);
      return true;
    }
    void receive_somehow() {
      const std::uint32_t channel = any_channel();
      if (may_wait_for(channel) && pick(3) == 0) {
        receive(channel);
        return;
      }
      const Chosen chosen = limit(false);
      const Moment start = program_.history_.now();
      auto received = program_.channels_[channel].receive(chosen.limit);
      if (received.has_value()) {
        expect(received.status == Status::done, "a value came with a status that says otherwise");
        has_received(channel, std::move(*received), start);
      } else if (received.status == Status::closed) {
        saw_closed(channel);
      } else {
        check_status(received.status, chosen);
      }
    }
    void try_receive(std::uint32_t channel) {
      const Moment start = program_.history_.now();
      if (auto value = program_.channels_[channel].try_receive()) has_received(channel, std::move(*value), start);
    }

    // --- select: up to two receives, a send, and something that ends it for sure
    void select() {
      const std::uint32_t from = any_channel(), from_too = any_channel(), to = my_channel();
      Value value = next_value(to);
      const Message message = *value;
      const Chosen chosen = limit(false);
      const Moment start = program_.history_.now();
      int ran = 0;
      std::size_t expected = 0;
      const auto received = [&](std::uint32_t channel, std::size_t arm) {
        return [&, channel, arm](std::optional<Value> got) {
          ++ran;
          expected = arm;
          if (got.has_value()) {
            has_received(channel, std::move(*got), start);
          } else {
            saw_closed(channel);
          }
        };
      };
      const auto sent = [&] {
        ++ran;
        expected = 2;
        has_sent(message, start);
      };
      const auto first = fiber::on_receive(program_.channels_[from], received(from, 0));
      const auto second = fiber::on_receive(program_.channels_[from_too], received(from_too, 1));
      const auto third = [&] { return fiber::on_send(program_.channels_[to], std::move(value), sent); };
      std::size_t arm = 0;
      switch (pick(4)) {
        case 0:  // the drainer sees to it that the send goes through
          arm = fiber::select(first, second, third());
          break;
        case 1:
          arm = fiber::select(first, second, third(), fiber::otherwise([&] {
                                ++ran;
                                expected = 3;
                              }));
          break;
        case 2:
          arm = fiber::select(first, second, third(), fiber::until(chosen.deadline, [&] {
                                ++ran;
                                expected = 3;
                                expect(fiber::Clock::now() >= chosen.deadline, "a select timed out early");
                              }));
          break;
        case 3: {
          const fiber::Context context = chosen.context == nullptr ? fiber::Context() : *chosen.context;
          arm = fiber::select(first, second, third(), fiber::on_done(context, [&] {
                                ++ran;
                                expected = 3;
                                expect(context.cancelled(), "a select saw a context cancelled that is not");
                              }));
          break;
        }
      }
      expect(ran == 1, "a select ran not exactly one arm");
      expect(arm == expected, "a select returned another arm than it ran");
    }

    // --- locks
    void lock_something(std::size_t from) {
      if (from >= program_.locks_.size()) return;
      const std::size_t which = from + pick(program_.locks_.size() - from);
      Lock& lock = *program_.locks_[which];
      switch (pick(3)) {
        case 0:
          lock.mutex.lock();
          break;
        case 1:
          if (!lock.mutex.try_lock()) return;
          break;
        case 2: {
          const Chosen chosen = limit(true);
          const Status status = lock.mutex.lock(chosen.limit);
          check_status(status, chosen);
          if (status != Status::done) return;
          break;
        }
      }
      ++held_;
      expect(lock.inside++ == 0, "two in one critical section");
      ++lock.entered;
      lock.expected.fetch_add(1, std::memory_order_relaxed);
      switch (pick(6)) {
        case 0:
          send(my_channel(), limit(true));
          break;
        case 1:
          lock_something(which + 1);
          break;
        case 2:
          sleep();
          break;
        case 3:
          if (is_fiber_) fiber::yield();
          break;
      }
      expect(--lock.inside == 0, "two in one critical section");
      lock.mutex.unlock();
      --held_;
    }

    // The feeder makes tokens until everybody has ended; each is taken once.
    void wait_for_token() {
      std::unique_lock lock(program_.token_mutex_);
      const auto there = [&] { return program_.tokens_ > 0; };
      if (pick(2) == 0) {
        program_.token_added_.wait(lock, there);
      } else {
        const Chosen chosen = limit(true);
        const Status status = program_.token_added_.wait(lock, chosen.limit, there);
        if (status != Status::done) {
          check_status(status, chosen);
          return;
        }
      }
      expect(program_.tokens_ > 0, "a predicate did not hold after its wait");
      --program_.tokens_;
      ++program_.tokens_taken_;
    }

    void sleep() {
      const auto until = fiber::Clock::now() + short_time();
      fiber::sleep_until(until);
      expect(fiber::Clock::now() >= until, "slept too short");
    }

    // --- children: joined, or counted by a wait group
    void children() {
      if (depth_ == 0) return;
      const unsigned count = static_cast<unsigned>(1 + pick(3)), operations = static_cast<unsigned>(1 + pick(8));
      const auto child = [this](std::uint64_t seed) {
        return std::make_unique<Actor>(program_, seed, level_, depth_ - 1, true);
      };
      if (pick(2) == 0) {
        std::vector<fiber::JoinHandle<std::size_t>> handles;
        std::vector<std::unique_ptr<Actor>> actors;
        const bool throws = pick(4) == 0;
        for (unsigned i = 0; i < count; ++i) {
          actors.push_back(child(random_()));
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
      } else {
        fiber::WaitGroup all;
        std::atomic<unsigned> ended{0};
        for (unsigned i = 0; i < count; ++i) {
          fiber::go([actor = child(random_()), operations, &ended, token = all.token()]() mutable {
            actor->act(operations);
            ++ended;
            token.done();
          });
        }
        all.wait();
        expect(ended == count, "a wait group was done too early");
      }
    }

    Program& program_;
    Random random_;
    const unsigned level_;
    const int depth_;
    const bool is_fiber_;
    std::uint32_t id_ = 0;
    Log& log_;
    std::vector<std::uint32_t> sequences_;
    int held_ = 0;
  };

  static std::vector<std::size_t> capacities(Random& shape) {
    std::vector<std::size_t> result(1 + shape() % 4);
    for (std::size_t& capacity : result) capacity = shape() % 2 == 0 ? 0 : 1 + shape() % 4;
    return result;
  }
  void start_channel(std::uint32_t channel, fiber::WaitGroup& all);

  const std::uint64_t seed_;
  const std::vector<std::size_t> capacities_;
  History history_;
  std::vector<fiber::Channel<Value>> channels_;
  std::vector<std::unique_ptr<fiber::WaitGroup>> senders_;
  std::vector<std::unique_ptr<Lock>> locks_;
  std::vector<fiber::CancelSource> sources_;
  std::vector<fiber::Context> contexts_;

  fiber::Mutex token_mutex_;
  fiber::Condition token_added_;
  long tokens_ = 0, tokens_made_ = 0, tokens_taken_ = 0;
};

Program::Program(std::uint64_t seed, Random& shape)
    : seed_(seed), capacities_(capacities(shape)), history_(capacities_) {
  for (const std::size_t capacity : capacities_) {
    channels_.emplace_back(capacity);
    senders_.push_back(std::make_unique<fiber::WaitGroup>());
  }
  for (std::uint64_t i = 1 + shape() % 3; i-- > 0;) locks_.push_back(std::make_unique<Lock>());
  for (std::uint64_t i = 1 + shape() % 3; i-- > 0;) {
    // Some are derived from others, and some have a deadline.
    const fiber::Context parent = contexts_.empty() || shape() % 2 == 0 ? fiber::Context() : contexts_.back();
    sources_.push_back(fiber::with_cancel(parent));
    const fiber::Context& context = sources_.back().context();
    contexts_.push_back(shape() % 2 == 0 ? context
                                         : fiber::with_timeout(context, std::chrono::microseconds(shape() % 2000)));
  }
}

void Program::start_channel(std::uint32_t channel, fiber::WaitGroup& all) {
  fiber::go({.name = "drainer"}, [this, channel, token = all.token()] { Actor(*this, 0, 0, 0, true).drain(channel); });
  fiber::go({.name = "closer"}, [this, channel, token = all.token()] {
    senders_[channel]->wait();
    channels_[channel].close();
  });
}

void Program::run(Random& shape) {
  fiber::WaitGroup all, actors;
  std::vector<std::thread> threads;
  const unsigned fibers = static_cast<unsigned>(2 + shape() % 8);
  const unsigned foreign = shape() % 4 == 0 ? 1 : 0;
  for (unsigned i = 0; i < fibers + foreign; ++i) {
    const unsigned level = static_cast<unsigned>(shape() % channels_.size());
    const unsigned operations = static_cast<unsigned>(5 + shape() % 40);
    auto body = [this, i, level, operations, is_fiber = i < fibers, token = actors.token(), may_send = [&] {
      std::vector<fiber::WaitGroup::Token> tokens;
      for (std::size_t c = level; c < channels_.size(); ++c) tokens.push_back(senders_[c]->token());
      return tokens;
    }()]() mutable {
      Actor(*this, seed_ * 1000 + i, level, 2, is_fiber).act(operations);
      may_send.clear();
    };
    if (i < fibers) {
      fiber::go({.name = "actor"}, std::move(body));
    } else {
      threads.emplace_back(std::move(body));
    }
  }
  for (std::uint32_t channel = 0; channel < channels_.size(); ++channel) start_channel(channel, all);

  fiber::go({.name = "canceller"}, [this, order = shape(), token = all.token()] {
    for (fiber::CancelSource& source : sources_) {
      fiber::sleep_for(std::chrono::microseconds(order % 700));
      source.cancel();
    }
  });
  std::atomic<bool> stop{false};
  fiber::go({.name = "feeder"}, [this, &stop, how = shape(), token = all.token()] {
    for (unsigned i = 0; !stop; ++i) {
      {
        std::lock_guard guard(token_mutex_);
        ++tokens_;
        ++tokens_made_;
      }
      token_added_.notify_one();
      if (how % 2 == 0) {
        fiber::sleep_for(20us);
      } else {
        fiber::yield();
      }
    }
  });

  actors.wait();
  stop = true;
  all.wait();
  fiber::blocking([&] {
    for (std::thread& thread : threads) thread.join();
  });
  if (tokens_made_ != tokens_taken_ + tokens_) history_.wrong("tokens were lost or made of nothing");
}

}  // namespace

Outcome run_program(std::uint64_t seed, unsigned processors) {
  Outcome outcome;
  fiber::run(fiber::Options{.processors = processors}, [&] {
    Random shape(seed);
    Program program(seed, shape);
    program.run(shape);
    outcome = program.outcome();
  });
  return outcome;
}

}  // namespace random_program
