// SPDX-License-Identifier: BSD-2-Clause
// Semaphores and reader-writer locks against an exact sequential model, one operation at a time, as lockstep_test does
// with channels. Both are the same to the model: so much room, and each who comes wants some of it (a writer all), gets
// it in the order of arrival, and nobody overtakes who wants more than there is.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <algorithm>
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

class Model {
 public:
  explicit Model(std::int64_t room) : free_(room) {}
  bool would_enter(std::int64_t wanted) const { return queue_.empty() && wanted <= free_; }
  // Those who get in by it, in order.
  std::vector<int> come(int id, std::int64_t wanted) {
    queue_.push_back({id, wanted});
    return admit();
  }
  std::vector<int> leave(int id) {
    free_ += inside_.at(id);
    inside_.erase(id);
    return admit();
  }
  std::vector<int> give_up(int id) {
    std::erase_if(queue_, [&](const Waiting& waiting) { return waiting.id == id; });
    return admit();
  }
  std::vector<int> inside() const {
    std::vector<int> ids;
    for (const auto& [id, held] : inside_) ids.push_back(id);
    return ids;
  }

 private:
  struct Waiting {
    int id;
    std::int64_t wanted;
  };
  std::vector<int> admit() {
    std::vector<int> admitted;
    for (; !queue_.empty() && queue_.front().wanted <= free_; queue_.pop_front()) {
      free_ -= queue_.front().wanted;
      inside_[queue_.front().id] = queue_.front().wanted;
      admitted.push_back(queue_.front().id);
    }
    return admitted;
  }
  std::int64_t free_;
  std::deque<Waiting> queue_;
  std::map<int, std::int64_t> inside_;
};

struct SemaphoreUnderTest {
  static constexpr std::int64_t kRoom = 4;
  fiber::Semaphore semaphore{kRoom, kRoom};
  static std::int64_t pick(std::mt19937_64& random) { return static_cast<std::int64_t>(1 + random() % kRoom); }
  void enter(std::int64_t wanted) { semaphore.acquire(wanted); }
  Status enter(std::int64_t wanted, const fiber::Context& context) { return semaphore.acquire(wanted, context); }
  bool try_enter(std::int64_t wanted) { return semaphore.try_acquire(wanted); }
  void leave(std::int64_t wanted) { semaphore.release(wanted); }
};

struct RwLockUnderTest {
  static constexpr std::int64_t kRoom = 1000;
  fiber::RwLock lock;
  static std::int64_t pick(std::mt19937_64& random) { return random() % 3 == 0 ? kRoom : 1; }
  void enter(std::int64_t wanted) { wanted == 1 ? lock.lock_shared() : lock.lock(); }
  Status enter(std::int64_t wanted, const fiber::Context& context) {
    return wanted == 1 ? lock.lock_shared(context) : lock.lock(context);
  }
  bool try_enter(std::int64_t wanted) { return wanted == 1 ? lock.try_lock_shared() : lock.try_lock(); }
  void leave(std::int64_t wanted) { wanted == 1 ? lock.unlock_shared() : lock.unlock(); }
};

template <class Object>
class Admissions {
 public:
  explicit Admissions(std::uint64_t seed) : random_(seed), model_(Object::kRoom) {}

  void run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) step();
    while (!visitors_.empty() && !testing::Test::HasFatalFailure()) leave();
  }

 private:
  // A fiber that gets in, says so, and leaves when it is told to.
  struct Visitor {
    fiber::CancelSource cancel;
    bool may_give_up = false, waits = true;
    fiber::Channel<Status> came{1};
    fiber::Channel<bool> leave{1};
    fiber::JoinHandle<void> fiber;
  };

  void step() {
    switch (random_() % 8) {
      case 0:
        return give_up();
      case 1:
        return try_it();
      case 2:
      case 3:
      case 4:
        return leave();
      default:
        return come();
    }
  }

  void come() {
    const int id = next_++;
    const std::int64_t wanted = Object::pick(random_);
    Visitor& visitor = visitors_[id];
    visitor.cancel = fiber::with_cancel();
    visitor.may_give_up = random_() % 2 == 0;
    visitor.fiber = fiber::spawn([this, &visitor, wanted] {
      Status status = Status::done;
      if (visitor.may_give_up) {
        status = object_.enter(wanted, visitor.cancel.context());
      } else {
        object_.enter(wanted);
      }
      visitor.came.send(status);
      if (status != Status::done) return;
      visitor.leave.receive();
      object_.leave(wanted);
    });
    const bool enters = model_.would_enter(wanted);
    const std::vector<int> admitted = model_.come(id, wanted);
    if (!enters) await_parked(visitor.fiber.id());
    check(admitted);
  }

  void leave() {
    const std::vector<int> inside = model_.inside();
    if (inside.empty()) return;
    const int id = inside[random_() % inside.size()];
    visitors_.at(id).leave.send(true);
    visitors_.at(id).fiber.join();
    visitors_.erase(id);
    check(model_.leave(id));
  }

  void give_up() {
    std::vector<int> may;
    for (const auto& [id, visitor] : visitors_) {
      if (visitor.may_give_up && visitor.waits) may.push_back(id);
    }
    if (may.empty()) return;
    const int id = may[random_() % may.size()];
    Visitor& visitor = visitors_.at(id);
    visitor.cancel.cancel();
    const auto came = visitor.came.receive(10s);
    ASSERT_EQ(came.value_or(Status::timed_out), Status::cancelled) << "visitor " << id << " did not give up";
    visitor.fiber.join();
    visitors_.erase(id);
    check(model_.give_up(id));
  }

  void try_it() {
    const std::int64_t wanted = Object::pick(random_);
    const bool enters = object_.try_enter(wanted);
    ASSERT_EQ(enters, model_.would_enter(wanted)) << "somebody who tried to get " << wanted;
    if (enters) object_.leave(wanted);
  }

  // Exactly these have got in.
  void check(const std::vector<int>& admitted) {
    for (const int id : admitted) {
      const auto came = visitors_.at(id).came.receive(10s);
      ASSERT_EQ(came.value_or(Status::timed_out), Status::done) << "visitor " << id << " did not get in";
      visitors_.at(id).waits = false;
    }
    for (auto& [id, visitor] : visitors_) {
      ASSERT_TRUE(!visitor.waits || visitor.came.size() == 0) << "visitor " << id << " got in out of turn";
    }
  }

  std::mt19937_64 random_;
  Object object_;
  Model model_;
  std::map<int, Visitor> visitors_;
  int next_ = 1;
};

class AdmissionPrograms : public testing::TestWithParam<unsigned> {
 protected:
  template <class Object>
  void run() {
    for (std::uint64_t seed = 1; seed <= programs(200) && !HasFatalFailure(); ++seed) {
      SCOPED_TRACE("seed " + std::to_string(seed));
      fiber::run(fiber::Options{.processors = GetParam()}, [&] {
        auto program = std::make_unique<Admissions<Object>>(seed);
        program->run(200);
        if (HasFatalFailure()) static_cast<void>(program.release());  // fibers that wait still use it
      });
    }
  }
};
INSTANTIATE_TEST_SUITE_P(Processors, AdmissionPrograms, testing::Values(1u, 2u, 4u));

}  // namespace

TEST_P(AdmissionPrograms, SemaphoresAdmitInOrder) { run<SemaphoreUnderTest>(); }

TEST_P(AdmissionPrograms, ReaderWriterLocksAdmitInOrder) { run<RwLockUnderTest>(); }
