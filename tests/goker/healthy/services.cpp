// SPDX-License-Identifier: BSD-2-Clause
// What services are made of: calls that are shared, hedged, limited, retried and shut down.
#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "goker/healthy/healthy.h"

namespace healthy {

namespace {

// Who comes first for a key asks the backend; the others wait for that answer.
void shared_call(Time time) {
  struct Call {
    fiber::Mutex mutex;
    fiber::Condition answered;
    std::optional<int> answer;
  };
  struct Calls {
    fiber::Mutex mutex;
    std::map<std::string, std::shared_ptr<Call>> under_way;
  };
  const auto calls = std::make_shared<Calls>();
  std::vector<fiber::JoinHandle<void>> all;
  for (int i = 0; i < 10; ++i)
    all.push_back(fiber::spawn([calls, time] {
      std::shared_ptr<Call> call;
      bool mine = false;
      {
        std::lock_guard guard(calls->mutex);
        auto& found = calls->under_way["key"];
        mine = found == nullptr;
        if (mine) found = std::make_shared<Call>();
        call = found;
      }
      if (mine) {
        fiber::sleep_for(time);
        std::lock_guard guard(call->mutex);
        call->answer = 1;
        call->answered.notify_all();
      } else {
        std::unique_lock lock(call->mutex);
        call->answered.wait(lock, [&] { return call->answer.has_value(); });
      }
    }));
  for (auto& one : all) one.join();
}
const Registration r33({"33", "shared_call", "ten ask for one key, and the first of them asks for all", shared_call});

// Permits that only a timer's function gives back.
void token_bucket(Time time) {
  const auto bucket = std::make_shared<fiber::Semaphore>(0);
  std::vector<fiber::JoinHandle<void>> all;
  for (int i = 0; i < 5; ++i) all.push_back(fiber::spawn([bucket] { bucket->acquire(); }));
  const fiber::Timer refill(time, [bucket] { bucket->release(5); });
  for (auto& one : all) one.join();
}
const Registration r34({"34", "token_bucket", "permits come from a timer's function only", token_bucket});

// Two levels of workers; what ends them is the close that the source does at last.
void closed_in_the_end(Time time) {
  fiber::Channel<int> jobs, results;
  fiber::WaitGroup working;
  std::vector<fiber::JoinHandle<void>> all;
  for (int i = 0; i < 8; ++i)
    all.push_back(fiber::spawn([from = jobs.receiver(), to = results.sender(), token = working.token()]() mutable {
      for (const int job : from) to.send(job);
    }));
  all.push_back(fiber::spawn([&working, to = results.sender()]() mutable {
    working.wait();
    to.close();
  }));
  all.push_back(fiber::spawn([from = results.receiver()]() mutable {
    while (from.receive()) continue;
  }));
  all.push_back(later(time, [to = jobs.sender()]() mutable {
    to.send(1);
    to.close();
  }));
  { const fiber::Channel<int> gone = std::exchange(jobs, fiber::Channel<int>()); }
  { const fiber::Channel<int> gone = std::exchange(results, fiber::Channel<int>()); }
  for (auto& one : all) one.join();
}
const Registration r35({"35", "closed_in_the_end", "workers that the source's close ends, one level after the other",
                        closed_in_the_end});

// The first of a group that fails cancels the others, which wait for nothing else that will ever come.
void first_error(Time time) {
  struct Group {
    fiber::CancelSource stop = fiber::with_cancel();
    fiber::Mutex mutex;
    bool failed = false;
    void fail() {
      std::lock_guard guard(mutex);
      if (!std::exchange(failed, true)) stop.cancel();
    }
  };
  const auto group = std::make_shared<Group>();
  std::vector<fiber::JoinHandle<void>> all;
  for (int i = 0; i < 6; ++i)
    all.push_back(fiber::spawn([group, context = group->stop.context()] {
      fiber::Channel<int> silent;
      silent.receive(context);
      group->fail();
    }));
  all.push_back(later(time, [group] { group->fail(); }));
  for (auto& one : all) one.join();
}
const Registration r36({"36", "first_error", "who fails first cancels the rest of the group", first_error});

// The same question to two; the answer that comes too late stays in its channel.
void hedged(Time time) {
  const auto ask = [](Time takes) {
    fiber::Channel<int> answer(1);
    fiber::go([to = answer.sender(), takes]() mutable {
      fiber::sleep_for(takes);
      to.send(1);
    });
    return answer.receiver();
  };
  fiber::spawn([ask, time] {
    fiber::Receiver<int> first = ask(time), second = ask(time + time / 4);
    fiber::select(fiber::on_receive(first, [](auto) {}), fiber::on_receive(second, [](auto) {}));
  }).join();
}
const Registration r37({"37", "hedged", "two are asked, and the later answer is not waited for", hedged});

// An actor that waits for the answer of another, which keeps the question in a deque while it sleeps.
void deferred_answer(Time time) {
  using Question = fiber::Sender<int>;
  fiber::Channel<Question> inbox(4);
  auto actor = fiber::spawn([from = inbox.receiver(), time]() mutable {
    std::deque<std::function<void()>> deferred;
    for (Question& question : from) deferred.push_back([question]() mutable { question.send(1); });
    fiber::sleep_for(time);
    for (auto& answer : deferred) answer();
  });
  std::vector<fiber::JoinHandle<void>> all;
  fiber::WaitGroup asked;
  for (int i = 0; i < 4; ++i)
    all.push_back(fiber::spawn([to = inbox.sender(), token = asked.token()]() mutable {
      auto [sender, receiver] = [] {
        const fiber::Channel<int> reply;
        return std::pair(reply.sender(), reply.receiver());
      }();
      to.send(std::move(sender));
      { const auto done = std::move(token); }
      receiver.receive();
    }));
  asked.wait();
  inbox.close();
  for (auto& one : all) one.join();
  actor.join();
}
const Registration r38({"38", "deferred_answer", "questions are kept in closures until an actor wakes",
                        deferred_answer});

// What the compiler knows nothing about.
std::uintptr_t origin() {
  static char here;
  std::uintptr_t word = reinterpret_cast<std::uintptr_t>(&here);
  asm("" : "+r"(word));
  return word;
}

// Nodes of an arena that know each other by their distance, declared to tools as a whole.
void offsets(Time time) {
  struct Node {
    std::int64_t next;  // bytes from here; 0: none
    fiber::Sender<int> sender;
  };
  auto nodes = std::make_unique<std::array<Node, 4>>();
  std::vector<fiber::JoinHandle<void>> waiters;
  for (std::size_t i = 0; i < nodes->size(); ++i) {
    auto [sender, waiter] = await_value();
    (*nodes)[i] = {i + 1 < nodes->size() ? static_cast<std::int64_t>(sizeof(Node)) : 0, std::move(sender)};
    waiters.push_back(std::move(waiter));
  }
  fiber::ExternalRef arena(nodes.get());
  const std::uintptr_t distance = reinterpret_cast<std::uintptr_t>(nodes.release()) - origin();
  auto keeper = later(time, [distance, arena = std::move(arena)] {
    std::uintptr_t at = origin() + distance;
    auto* const all = reinterpret_cast<std::array<Node, 4>*>(at);
    for (std::int64_t step = 1; step != 0; at += static_cast<std::uintptr_t>(step)) {
      auto* const node = reinterpret_cast<Node*>(at);
      node->sender.send(1);
      step = node->next;
    }
    delete all;
  });
  for (auto& waiter : waiters) waiter.join();
  keeper.join();
}
const Registration r39({"39", "offsets", "in nodes that are found by distances, and declared to tools", offsets});

}  // namespace

}  // namespace healthy
