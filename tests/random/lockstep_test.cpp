// SPDX-License-Identifier: BSD-2-Clause
// Channels against an exact sequential model, one operation at a time: after each the test knows which operations must
// have ended, with what, and waits for exactly these. So it sees in what order those who wait are served: senders and
// receivers each in the order of arrival, selects among them, whoever gives up gone from all its queues.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "parked.h"

namespace {

using namespace std::chrono_literals;
using fiber::Status;

constexpr int kChannels = 2;

// How one operation has ended: on which channel, and with which value.
struct Ended {
  Status status = Status::done;
  int channel = -1;
  int value = 0;
  bool operator==(const Ended&) const = default;
};
std::string text(int operation, const Ended& ended) {
  return "operation " + std::to_string(operation) + " " + to_string(ended.status) + ", channel " +
         std::to_string(ended.channel) + ", value " + std::to_string(ended.value);
}

// One arm of an operation; an operation that is no select has one.
struct Arm {
  int channel;
  bool is_send;
  int value;  // to send
};

// What Go's channels do, without any concurrency.
class Model {
 public:
  explicit Model(std::vector<std::size_t> capacities) : channels_(capacities.size()) {
    for (std::size_t i = 0; i < capacities.size(); ++i) channels_[i].capacity = capacities[i];
  }

  bool ready(const Arm& arm) const {
    const Channel& channel = channels_[static_cast<std::size_t>(arm.channel)];
    return arm.is_send ? !channel.receivers.empty() || channel.buffer.size() < channel.capacity
                       : !channel.senders.empty() || !channel.buffer.empty();
  }
  // Carries out an arm that is ready; what ends is in ended().
  void perform(int operation, const Arm& arm) {
    Channel& channel = channels_[static_cast<std::size_t>(arm.channel)];
    if (arm.is_send) {
      ended_[operation] = {Status::done, arm.channel, arm.value};
      if (channel.receivers.empty()) {
        channel.buffer.push_back(arm.value);
      } else {
        finish(channel.receivers.front().operation, {Status::done, arm.channel, arm.value});
      }
      return;
    }
    int value;
    if (!channel.buffer.empty()) {
      value = channel.buffer.front();
      channel.buffer.pop_front();
      if (!channel.senders.empty()) {
        const Waiting sender = channel.senders.front();
        channel.buffer.push_back(sender.value);
        finish(sender.operation, {Status::done, arm.channel, sender.value});
      }
    } else {
      const Waiting sender = channel.senders.front();
      value = sender.value;
      finish(sender.operation, {Status::done, arm.channel, sender.value});
    }
    ended_[operation] = {Status::done, arm.channel, value};
  }
  void wait(int operation, const std::vector<Arm>& arms) {
    for (const Arm& arm : arms) queue(arm).push_back({operation, arm.value});
  }
  void finish(int operation, const Ended& how) {
    for (Channel& channel : channels_) {
      for (auto* queue : {&channel.senders, &channel.receivers}) {
        std::erase_if(*queue, [&](const Waiting& waiting) { return waiting.operation == operation; });
      }
    }
    ended_[operation] = how;
  }
  std::map<int, Ended> take_ended() { return std::exchange(ended_, {}); }
  bool senders_wait(int channel) const { return !channels_[static_cast<std::size_t>(channel)].senders.empty(); }
  std::size_t buffered(int channel) const { return channels_[static_cast<std::size_t>(channel)].buffer.size(); }
  std::vector<int> receivers(int channel) const {
    std::vector<int> result;
    for (const Waiting& waiting : channels_[static_cast<std::size_t>(channel)].receivers) {
      result.push_back(waiting.operation);
    }
    return result;
  }

 private:
  struct Waiting {
    int operation, value;
  };
  struct Channel {
    std::size_t capacity = 0;
    std::deque<int> buffer;
    std::deque<Waiting> senders, receivers;
  };
  std::deque<Waiting>& queue(const Arm& arm) {
    Channel& channel = channels_[static_cast<std::size_t>(arm.channel)];
    return arm.is_send ? channel.senders : channel.receivers;
  }
  std::vector<Channel> channels_;
  std::map<int, Ended> ended_;
};

class Lockstep {
 public:
  explicit Lockstep(std::uint64_t seed)
      : random_(seed), capacities_{random_() % 3, random_() % 4}, model_(capacities_) {
    for (const std::size_t capacity : capacities_) channels_.emplace_back(capacity);
  }

  void run(int operations) {
    for (int i = 0; i < operations && !testing::Test::HasFatalFailure(); ++i) step();
    end();
  }

 private:
  struct Operation {
    std::vector<Arm> arms;
    std::unique_ptr<fiber::CancelSource> cancel;  // of one that may give up
    fiber::JoinHandle<Ended> fiber;
    std::unique_ptr<std::atomic<bool>> over = std::make_unique<std::atomic<bool>>(false);
  };
  std::uint64_t pick(std::uint64_t count) { return random_() % count; }
  Arm any_arm() { return {static_cast<int>(pick(kChannels)), pick(2) == 0, ++last_value_}; }

  void step() {
    switch (pick(8)) {
      case 0:
        return give_up();
      case 1:
        return try_it(any_arm());
      case 2:
      case 3:
        return start({any_arm(), any_arm()}, pick(2) == 0);
      default:
        return start({any_arm()}, pick(2) == 0);
    }
  }

  // In a fiber of its own, which waits if it has to.
  void start(std::vector<Arm> arms, bool may_give_up) {
    const int id = next_++;
    Operation& operation = operations_[id];
    operation.arms = arms;
    if (may_give_up) operation.cancel = std::make_unique<fiber::CancelSource>(fiber::with_cancel());
    const fiber::Context context = may_give_up ? operation.cancel->context() : fiber::Context();
    operation.fiber = fiber::spawn([this, arms, context, may_give_up, over = operation.over.get()] {
      const Ended ended = perform(arms, context, may_give_up);
      *over = true;
      return ended;
    });
    const std::uint64_t fiber = operation.fiber.id();
    std::vector<Arm> ready;
    std::copy_if(arms.begin(), arms.end(), std::back_inserter(ready),
                 [&](const Arm& arm) { return model_.ready(arm); });
    if (ready.empty()) {
      model_.wait(id, arms);
      await_parked(fiber);
    } else if (ready.size() == 1) {
      model_.perform(id, ready.front());
    } else {
      // Either; it says which.
      ASSERT_EQ(operations_.at(id).fiber.wait(10s), Status::done) << "operation " << id << " had not to wait";
      const Ended ended = operations_.at(id).fiber.join();
      operations_.erase(id);
      const auto sent_it = [&](const Arm& arm) { return arm.is_send && arm.value == ended.value; };
      const bool sent = std::any_of(ready.begin(), ready.end(), sent_it);
      const auto chosen = std::find_if(ready.begin(), ready.end(), [&](const Arm& arm) {
        return arm.channel == ended.channel && (sent ? sent_it(arm) : !arm.is_send);
      });
      ASSERT_NE(chosen, ready.end()) << text(id, ended);
      model_.perform(id, *chosen);
      auto all = model_.take_ended();
      EXPECT_EQ(ended, all.at(id)) << text(id, ended);
      all.erase(id);
      return check(all);
    }
    check(model_.take_ended());
  }

  void try_it(const Arm& arm) {
    const int id = next_++;
    const bool ready = model_.ready(arm);
    if (ready) model_.perform(id, arm);
    auto& channel = channels_[static_cast<std::size_t>(arm.channel)];
    bool done = false;
    Ended ended{Status::done, arm.channel, arm.value};
    if (arm.is_send) {
      int value = arm.value;
      done = channel.try_send(value);
    } else {
      const auto value = channel.try_receive();
      done = value.has_value();
      ended.value = value.value_or(0);
    }
    ASSERT_EQ(done, ready) << "a try that " << (ready ? "had not" : "had") << " to wait";
    auto all = model_.take_ended();
    if (done) {
      EXPECT_EQ(ended, all.at(id)) << text(id, ended);
    }
    all.erase(id);
    check(all);
  }

  void give_up() {
    std::vector<int> may;
    for (const auto& [id, operation] : operations_) {
      if (operation.cancel != nullptr) may.push_back(id);
    }
    if (may.empty()) return;
    const int id = may[pick(may.size())];
    operations_.at(id).cancel->cancel();
    model_.finish(id, {Status::cancelled, -1, 0});
    check(model_.take_ended());
  }

  // Exactly these have ended.
  void check(const std::map<int, Ended>& expected) {
    for (const auto& [id, how] : expected) {
      const auto operation = operations_.find(id);
      ASSERT_NE(operation, operations_.end()) << "operation " << id << " has ended twice";
      ASSERT_EQ(operation->second.fiber.wait(10s), Status::done) << "not ended, but should have: " << text(id, how);
      const Ended ended = operation->second.fiber.join();
      ASSERT_EQ(ended, how) << text(id, ended) << "; expected: " << text(id, how);
      operations_.erase(operation);
    }
    for (const auto& [id, operation] : operations_) {
      ASSERT_FALSE(*operation.over) << "operation " << id << " should still wait";
    }
  }

  // Until all that wait have got something.
  void end() {
    for (int channel = 0; channel < kChannels; ++channel) {
      while (model_.senders_wait(channel) || model_.buffered(channel) > 0) start({{channel, false, 0}}, false);
      for (const int id : model_.receivers(channel)) model_.finish(id, {Status::closed, channel, 0});
      channels_[static_cast<std::size_t>(channel)].close();
      check(model_.take_ended());
      if (testing::Test::HasFatalFailure()) return;
    }
    EXPECT_TRUE(operations_.empty());
  }

  Ended perform(const std::vector<Arm>& arms, const fiber::Context& context, bool may_give_up) {
    Ended ended;
    const auto received = [&](int channel) {
      return [&ended, channel](std::optional<int> value) {
        ended = {value ? Status::done : Status::closed, channel, value.value_or(0)};
      };
    };
    const auto sent = [&](const Arm& arm) { return [&ended, arm] { ended = {Status::done, arm.channel, arm.value}; }; };
    const auto give_up = fiber::on_done(context, [&] { ended = {Status::cancelled, -1, 0}; });
    auto& channel = channels_[static_cast<std::size_t>(arms.front().channel)];
    if (arms.size() == 1) {
      const Arm& arm = arms.front();
      // With a limit, even one that never comes, the wait is another one.
      if (arm.is_send) {
        Status status = Status::done;
        if (may_give_up) {
          status = channel.send(arm.value, context);
        } else {
          channel.send(arm.value);
        }
        return status == Status::done ? Ended{status, arm.channel, arm.value} : Ended{status, -1, 0};
      }
      if (!may_give_up) {
        received(arm.channel)(channel.receive());
        return ended;
      }
      const auto value = channel.receive(context);
      return {value.status, value.status == Status::cancelled ? -1 : arm.channel, value.value_or(0)};
    }
    auto& other = channels_[static_cast<std::size_t>(arms.back().channel)];
    const Arm &one = arms.front(), &two = arms.back();
    if (one.is_send && two.is_send) {
      fiber::select(fiber::on_send(channel, one.value, sent(one)), fiber::on_send(other, two.value, sent(two)),
                    give_up);
    } else if (one.is_send) {
      fiber::select(fiber::on_send(channel, one.value, sent(one)), fiber::on_receive(other, received(two.channel)),
                    give_up);
    } else if (two.is_send) {
      fiber::select(fiber::on_receive(channel, received(one.channel)), fiber::on_send(other, two.value, sent(two)),
                    give_up);
    } else {
      fiber::select(fiber::on_receive(channel, received(one.channel)), fiber::on_receive(other, received(two.channel)),
                    give_up);
    }
    return ended;
  }

  std::mt19937_64 random_;
  const std::vector<std::size_t> capacities_;
  Model model_;
  std::vector<fiber::Channel<int>> channels_;
  std::map<int, Operation> operations_;  // not ended
  int next_ = 1, last_value_ = 0;
};

class LockstepPrograms : public testing::TestWithParam<unsigned> {};
INSTANTIATE_TEST_SUITE_P(Processors, LockstepPrograms, testing::Values(1u, 2u, 4u));

}  // namespace

TEST_P(LockstepPrograms, ChannelsServeInOrder) {
  for (std::uint64_t seed = 1; seed <= programs(300) && !HasFatalFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    fiber::run(fiber::Options{.processors = GetParam()}, [&] {
      auto program = std::make_unique<Lockstep>(seed);
      program->run(200);
      if (HasFatalFailure()) static_cast<void>(program.release());  // fibers that wait still use it
    });
  }
}
