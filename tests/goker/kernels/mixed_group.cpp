// SPDX-License-Identifier: BSD-2-Clause
// Wait groups waited for by those without whom they will not be done.
#include <array>

#include "goker/kernels/kernel.h"

namespace goker {

namespace {

// Stopping waits for the workers to drain, which they would do only when they are stopped, or not at all.
void cockroach_1055(bool fixed) {
  struct Stopper {
    fiber::Mutex mutex;
    fiber::WaitGroup drain, stop;
    fiber::Channel<Nothing> stopped;
    bool draining = false;

    bool begin_task() {
      std::lock_guard guard(mutex);
      if (!draining) drain.add();
      return !draining;
    }
    void quiesce() {
      std::lock_guard guard(mutex);
      draining = true;
      drain.wait();
    }
    void end() {
      stopped.close();
      stop.wait();
    }
  };
  struct All {
    std::array<Stopper, 3> stoppers;
    fiber::Channel<Nothing> done;
    std::atomic<int> begun{0};
  };
  auto all = std::make_shared<All>();
  static constexpr const char* names[] = {"A1", "A2", "A3"};
  for (std::size_t i = 0; i < 3; ++i) {
    all->stoppers[i].stop.add();
    fiber::go({.name = names[i]}, [fixed, all, i] {
      Stopper& stopper = all->stoppers[i];
      const bool begun = stopper.begin_task();
      ++all->begun;
      if (fixed && begun) stopper.drain.done();
      stopper.stopped.receive();
      stopper.stop.done();
    });
  }
  fiber::go({.name = "B"}, [all] {
    until([&] { return all->begun == 3; });
    for (Stopper& stopper : all->stoppers) stopper.quiesce();
    for (Stopper& stopper : all->stoppers) stopper.end();
    all->done.close();
  });
  all->done.receive();
}
const Registration r1055({"cockroach_1055", "mixed", "reach", "A1,A2,A3,B,M", "", cockroach_1055, 193});

// Waits for both plugins before the second is started.
void moby_25384(bool fixed) {
  fiber::go({.name = "A"}, [fixed] {
    auto group = std::make_shared<fiber::WaitGroup>(2);
    for (int plugin = 0; plugin < 2; ++plugin) {
      fiber::go({.name = "P"}, [group] { group->done(); });
      if (!fixed) group->wait();
    }
    group->wait();
  });
}
const Registration r25384({"moby_25384", "mixed", "reach", "A", "", moby_25384});

// The same with tokens: it is one of A's own that is not done.
void moby_25384_tokens(bool fixed) {
  fiber::go({.name = "A"}, [fixed] {
    auto group = std::make_shared<fiber::WaitGroup>();
    std::array<fiber::WaitGroup::Token, 2> tokens{group->token(), group->token()};
    for (fiber::WaitGroup::Token& token : tokens) {
      fiber::go({.name = "P"}, [group, done = std::move(token)] {});
      if (!fixed) group->wait();
    }
    group->wait();
  });
}
const Registration r25384b({"moby_25384_tokens", "mixed", "reach", "A", "", moby_25384_tokens, 200, "", true});

}  // namespace

}  // namespace goker
