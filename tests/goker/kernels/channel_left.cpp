// SPDX-License-Identifier: BSD-2-Clause
// Fibers left behind on channels whose other side has gone away.
#include "goker/kernels/kernel.h"

namespace goker {

namespace {

using namespace std::chrono_literals;

// In the round in which stop wins, nobody receives what the worker of that round sends.
void grpc_660(bool fixed) {
  fiber::Channel<Nothing> stop;
  fiber::go({.name = "A"}, [fixed, stop = stop.receiver()] {
    for (bool goes_on = true; goes_on;) {
      fiber::Channel<int> done(fixed ? 1 : 0);
      fiber::go({.name = "W"}, [done = done.sender()]() mutable { done.send(1); });
      fiber::select(fiber::on_receive(stop, [&](auto) { goes_on = false; }), fiber::on_receive(done, [](auto) {}));
    }
  });
  fiber::go({.name = "S"}, [stop = stop.sender()]() mutable { stop.send(Nothing{}); });
}
const Registration r660({"grpc_660", "communication", "reach", "W", "", grpc_660});

// Closing the stream ought to end the reader, and does nothing.
void grpc_1275(bool fixed) {
  struct Stream {
    fiber::Channel<int> received;
    bool read() { return received.receive().has_value(); }
    void close(bool really) {
      if (really) received.close();
    }
  };
  auto stream = std::make_shared<Stream>();
  fiber::Channel<Nothing> done;
  fiber::go({.name = "A"}, [stream, done = done.sender()]() mutable {
    while (stream->read()) continue;
    done.close();
  });
  stream->close(fixed);
  fiber::select(fiber::on_receive(done, [](auto) {}), fiber::after(1ms, [] {}));
}
const Registration r1275({"grpc_1275", "communication", "reach", "A", "", grpc_1275});

// Who was to close the channel at its end does not.
void grpc_1424(bool fixed) {
  fiber::Channel<int> addresses;
  fiber::go({.name = "A"}, [fixed, addresses = addresses.receiver()] {
    fiber::Channel<Nothing> done;
    fiber::go({.name = "B"}, [fixed, addresses, done = done.sender()]() mutable {
      for ([[maybe_unused]] int address : addresses) continue;
      if (fixed) done.close();
    });
    done.receive();
  });
  addresses.close();
}
const Registration r1424({"grpc_1424", "communication", "reach", "A", "", grpc_1424});

// The agent's loop ends as soon as no epoch is active; an epoch that is started later has nobody to tell of its end.
void istio_17860(bool fixed) {
  struct Agent : std::enable_shared_from_this<Agent> {
    fiber::Mutex mutex;
    fiber::Channel<int> statuses;
    std::vector<int> active;
    int epochs = 0;
    std::atomic<bool> live{false}, over{false};

    void run(const fiber::Context& context) {
      for (bool goes_on = true; goes_on;) {
        fiber::select(fiber::on_receive(statuses,
                                        [&](std::optional<int> epoch) {
                                          std::lock_guard guard(mutex);
                                          std::erase(active, *epoch);
                                          goes_on = !active.empty();
                                        }),
                      fiber::on_done(context, [&] { goes_on = false; }));
      }
      over = true;
    }
    void await_live() const {
      const fiber::Ticker ticker(100us);
      const fiber::Timer limit(20ms);
      for (bool goes_on = !live; goes_on;) {
        fiber::select(fiber::on_receive(ticker.channel(), [&](auto) { goes_on = !live; }),
                      fiber::on_receive(limit.channel(), [&](auto) { goes_on = false; }));
      }
    }
    void restart(const fiber::Context& context, bool may_give_up) {
      std::lock_guard guard(mutex);
      if (!active.empty()) await_live();
      const int epoch = ++epochs;
      active.push_back(epoch);
      fiber::go({.name = "R"}, [agent = shared_from_this(), epoch, context, may_give_up] {
        agent->live = true;
        if (may_give_up) {
          fiber::select(fiber::on_send(agent->statuses, epoch, [] {}), fiber::on_done(context, [] {}));
        } else {
          agent->statuses.send(epoch);
        }
      });
    }
  };
  fiber::CancelSource source = fiber::with_cancel();
  auto agent = std::make_shared<Agent>();
  fiber::go({.name = "A"}, [agent, context = source.context()] { agent->run(context); });
  agent->restart(source.context(), fixed);
  fiber::go({.name = "B"}, [fixed, agent, context = source.context()] {
    until([&] { return agent->over.load(); });
    agent->restart(context, fixed);
  });
  until([&] { return agent->over.load(); });
  source.cancel();
}
const Registration r17860({"istio_17860", "communication", "reach", "R", "", istio_17860, 56});

// The work takes longer than anybody waits for its result.
void kubernetes_5316(bool fixed) {
  const auto over = std::make_shared<std::atomic<bool>>(false);
  fiber::Channel<int> errors(fixed ? 1 : 0), results(fixed ? 1 : 0);
  fiber::go({.name = "A"}, [over, errors = errors.sender(), results = results.sender()]() mutable {
    fiber::sleep_for(2ms);
    until([&] { return over->load(); });
    if (chance(1, 2)) {
      errors.send(1);
    } else {
      results.send(1);
    }
  });
  fiber::select(fiber::on_receive(errors, [](auto) {}), fiber::on_receive(results, [](auto) {}),
                fiber::after(1ms, [] {}));
  *over = true;
}
const Registration r5316({"kubernetes_5316", "communication", "reach", "A", "", kubernetes_5316});

// Stopping a watcher closes its input, which it does not look at before somebody has taken the initial events.
void kubernetes_38669(bool fixed) {
  struct Watcher {
    fiber::Channel<int> input, result;
    fiber::Channel<Nothing> done;
    fiber::Mutex mutex;
    bool stopped = false;

    void process(const std::vector<int>& initial, bool may_stop) {
      bool goes_on = true;
      for (std::size_t i = 0; i < initial.size() && goes_on; ++i) {
        if (may_stop) {
          fiber::select(fiber::on_send(result, initial[i], [] {}),
                        fiber::on_receive(done, [&](auto) { goes_on = false; }));
        } else {
          result.send(initial[i]);
        }
      }
      while (input.receive()) continue;
    }
    void stop() {
      std::lock_guard guard(mutex);
      if (std::exchange(stopped, true)) return;
      done.close();
      input.close();
    }
  };
  auto watcher = std::make_shared<Watcher>();
  fiber::go({.name = "A"}, [fixed, watcher] { watcher->process({1, 2}, fixed); });
  watcher->stop();
}
const Registration r38669({"kubernetes_38669", "communication", "reach", "A", "", kubernetes_38669});

// The result comes on a channel that the caller drops.
template <class F>
fiber::Receiver<int> promise(F function, std::size_t capacity) {
  fiber::Channel<int> result(capacity);
  fiber::go({.name = "A"}, [function, result = result.sender()]() mutable { result.send(function()); });
  return result;
}

void moby_4395(bool fixed) {
  static_cast<void>(promise([] { return 7; }, fixed ? 1 : 0));
}
const Registration r4395({"moby_4395", "communication", "reach", "A", "", moby_4395});

// An error is sent to whoever calls, who gets the channel only afterwards.
fiber::Receiver<int> copy_container(bool fixed) {
  fiber::Channel<int> errors(fixed ? 1 : 0);
  if (chance(1, 2)) {
    errors.send(1);
    return errors;
  }
  errors.close();
  return errors;
}

void moby_33293(bool fixed) {
  fiber::go({.name = "A"}, [fixed] { copy_container(fixed).receive(); });
}
const Registration r33293({"moby_33293", "communication", "reach", "A", "", moby_33293, 92});

}  // namespace

}  // namespace goker
