// SPDX-License-Identifier: BSD-2-Clause
// Channels on which the kernel's own body waits, although nobody else could come.
#include <map>

#include "goker/kernels/kernel.h"

namespace goker {

namespace {

using namespace std::chrono_literals;

// Sends a tick now and then until it is told to stop, or for 20 s.
fiber::Receiver<Nothing> poller(fiber::Receiver<Nothing> stop) {
  fiber::Channel<Nothing> ticks;
  fiber::go({.name = "A"}, [ticks = ticks.sender(), stop = std::move(stop)]() mutable {
    const fiber::Ticker ticker(1ms);
    const fiber::Timer limit(20s);
    for (bool goes_on = true; goes_on;) {
      fiber::select(fiber::on_receive(ticker.channel(),
                                      [&](auto) {
                                        ticks.try_send(Nothing{});
                                        scrub_stack();  // of the frame of whoever was waiting for it
                                      }),
                    fiber::on_receive(limit.channel(), [&](auto) { goes_on = false; }),
                    fiber::on_receive(stop, [&](auto) { goes_on = false; }));
    }
    ticks.close();
  });
  return ticks;
}

template <class Condition>
void wait_for(fiber::Receiver<Nothing> stop, Condition holds) {
  fiber::Receiver<Nothing> ticks = poller(std::move(stop));
  while (ticks.receive()) {
    if (holds()) return;
  }
}

// M waits for the end of the channel that tells the poller to stop, which only M would bring about, later.
void kubernetes_70277(bool fixed) {
  fiber::Channel<Nothing> stop;
  wait_for(stop.receiver(), [] { return true; });
  if (fixed) stop.close();
  stop.receive();
  if (!fixed) stop.close();
}
const Registration r70277({"kubernetes_70277", "communication", "reach", "M", "", kubernetes_70277, 200, "A"});

// The second token is sent before the worker that would take it is started.
void cockroach_24808(bool fixed) {
  struct Compactor {
    fiber::Channel<Nothing> tokens{1};
    void work() {
      fiber::go({.name = "A"}, [from = tokens.receiver()]() mutable {
        for (int i = 0; i < 2; ++i) from.receive();
      });
    }
    void start(bool works_first) {
      if (works_first) work();
      tokens.send(Nothing{});
      if (!works_first) work();
    }
  };
  Compactor compactor;
  compactor.tokens.send(Nothing{});
  compactor.start(fixed);
}
const Registration r24808({"cockroach_24808", "communication", "reach", "M", "", cockroach_24808});

// A check waits for the stopper to quiesce, which nobody is there to ask for.
void cockroach_25456(bool fixed) {
  struct Stopper {
    fiber::Channel<Nothing> quiesced;
    void quiesce() { quiesced.close(); }
  };
  struct Store {
    std::shared_ptr<Stopper> stopper;
  };
  struct Replica {
    Store* store;
    void check_consistency() { store->stopper->quiesced.receive(); }
  };
  Store store{std::make_shared<Stopper>()};
  Replica replica{&store};
  if (fixed) store.stopper->quiesce();
  replica.check_consistency();
}
const Registration r25456({"cockroach_25456", "communication", "reach", "M", "", cockroach_25456});

// Cancelling a flow tells both its inputs, one of which has no room, and nobody reads it.
void cockroach_35931(bool fixed) {
  struct Registry {
    fiber::Mutex mutex;
    std::map<int, std::vector<fiber::Sender<int>>> flows;

    void cancel(int flow, bool drops) {
      std::vector<fiber::Sender<int>> inputs;
      {
        std::lock_guard guard(mutex);
        inputs = flows.at(flow);
      }
      for (fiber::Sender<int>& input : inputs) {
        if (drops) {
          input.try_send(-1);
        } else {
          input.send(-1);
        }
      }
    }
  };
  fiber::Channel<int> left(1), right(1);
  Registry registry;
  registry.flows[7] = {left.sender(), right.sender()};
  left.send(1);
  registry.cancel(7, fixed);
}
const Registration r35931({"cockroach_35931", "communication", "reach", "M", "", cockroach_35931});

}  // namespace

}  // namespace goker
