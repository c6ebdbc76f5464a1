// SPDX-License-Identifier: BSD-2-Clause
// What one fiber, or thread, of a random program does: so many operations, each drawn from its own generator, and each
// checked as far as the actor can see. What only shows in all actors together goes into the history.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "world.h"

namespace random_program {

class Actor {
 public:
  // It sends on channels from `level` on (program.h), and has children of at most so many generations.
  Actor(World& world, std::uint64_t seed, unsigned level, int depth, bool is_fiber);

  void act(unsigned operations);
  // Receives until the channel is closed.
  void drain(std::uint32_t channel);
  std::uint32_t id() const { return id_; }
  std::size_t sent() const { return log_.sent.size(); }

 private:
  std::uint64_t pick(std::uint64_t count) { return random_() % count; }
  std::chrono::microseconds short_time() { return std::chrono::microseconds(pick(4) == 0 ? 0 : pick(150)); }
  void expect(bool holds, const char* what);
  void act_once();
  void sleep();
  // What somebody does who holds a lock.
  void act_holding(std::size_t lock);

  struct Chosen {
    fiber::Limit limit;
    fiber::Deadline deadline = fiber::Deadline::max();
    const fiber::Context* context = nullptr;
  };
  Chosen limit(bool may_be_none);
  // That it ended so was right.
  void check_status(fiber::Status status, const Chosen& chosen);

  // --- channels (channel_acts.cpp)
  std::uint32_t any_channel() { return static_cast<std::uint32_t>(pick(world_.channels.size())); }
  std::uint32_t my_channel() { return static_cast<std::uint32_t>(level_ + pick(world_.channels.size() - level_)); }
  bool may_wait_for(std::uint32_t channel) const { return channel < level_ && held_ == 0; }
  Value next_value(std::uint32_t channel);
  void has_sent(const Message& message, Moment start);
  void has_received(std::uint32_t channel, Value value, Moment start);
  void saw_closed(std::uint32_t channel);
  void send(std::uint32_t channel, const Chosen& chosen);
  void try_send(std::uint32_t channel);
  bool receive(std::uint32_t channel);  // false: closed
  void receive_somehow();
  void try_receive(std::uint32_t channel);
  void select();

  // --- locks, conditions, once (lock_acts.cpp)
  void lock_something(std::size_t from);
  void lock_mutex(std::size_t which);
  void lock_for_writing(std::size_t which);
  void lock_for_reading(std::size_t which);
  void take_permits(std::size_t which);
  // As try_lock, lock with a limit, or lock does. False: not.
  template <class Try, class Limited, class Plain>
  bool acquire_somehow(Try attempt, Limited limited, Plain plain);
  void write_guarded(std::size_t which);
  void wait_for_token();
  void call_once();

  // --- children (child_acts.cpp)
  void children();
  std::unique_ptr<Actor> child();
  void joined_children(unsigned count, unsigned operations);
  void counted_children(unsigned count, unsigned operations);
  void children_in_step(unsigned count, unsigned operations);

  // --- timers (timer_acts.cpp)
  void timers();
  void timer_with_channel();
  void timer_with_function();
  void ticker();

  World& world_;
  Random random_;
  const unsigned level_;
  const int depth_;
  const bool is_fiber_;
  std::uint32_t id_ = 0;
  Log& log_;
  std::vector<std::uint32_t> sequences_;
  int held_ = 0;  // locks
};

}  // namespace random_program
