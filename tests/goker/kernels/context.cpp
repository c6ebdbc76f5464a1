// SPDX-License-Identifier: BSD-2-Clause
// Contexts that nobody will cancel, and channels that a cancelled one leaves behind.
//
// In these bugs the right to cancel is lost without having been used. A CancelSource cancels at its end, so what owns
// one is left on the heap where nobody knows it.
#include "goker/kernels/kernel.h"

namespace goker {

namespace {

using namespace std::chrono_literals;

// The transaction that can cancel is dropped without a rollback.
void cockroach_13197(bool fixed) {
  struct Transaction {
    fiber::CancelSource cancel = fiber::with_cancel();
    void roll_back() { cancel.cancel(); }
  };
  auto transaction = std::make_unique<Transaction>();
  fiber::go({.name = "A"}, [context = transaction->cancel.context()] { context.wait(); });
  if (fixed) {
    transaction->roll_back();
  } else {
    static_cast<void>(transaction.release());
  }
}
const Registration r13197({"cockroach_13197", "communication", "reach", "A", "", cockroach_13197});

// Who waits for the end of the context is the last to know the rows, which could bring it about.
void cockroach_13755(bool fixed) {
  struct Rows {
    fiber::CancelSource cancel = fiber::with_cancel();
    std::atomic<bool> closed{false};
    void close() {
      if (!closed.exchange(true)) cancel.cancel();
    }
    void await_done() {
      cancel.context().wait();
      close();
    }
  };
  auto rows = std::make_shared<Rows>();
  fiber::go({.name = "A"}, [rows] { rows->await_done(); });
  if (fixed) rows->close();
}
const Registration r13755({"cockroach_13755", "communication", "reach", "A", "", cockroach_13755});

// The consumer ends with the context; the producer does not look at it.
void cockroach_18101(bool fixed) {
  fiber::Channel<int> values(6);
  fiber::CancelSource source = fiber::with_cancel();
  fiber::go({.name = "A"}, [fixed, values = values.sender(), context = source.context()]() mutable {
    bool goes_on = true;
    for (int i = 0; i < 8 && goes_on; ++i) {
      if (fixed) {
        fiber::select(fiber::on_send(values, i, [] {}), fiber::on_done(context, [&] { goes_on = false; }));
      } else {
        values.send(i);
      }
    }
    values.close();
  });
  fiber::go({.name = "B"}, [values = values.receiver(), context = source.context()]() mutable {
    for ([[maybe_unused]] int value : values) {
      context.wait();
      return;
    }
  });
  fiber::go({.name = "H"}, [source = std::move(source)]() mutable {
    fiber::sleep_for(100us);
    source.cancel();
  });
}
const Registration r18101({"cockroach_18101", "communication", "reach", "A", "", cockroach_18101});

// A connection nobody keeps has a context of its own, not one derived from the caller's.
struct Connection {
  explicit Connection(const fiber::Context& parent) : cancel(fiber::with_cancel(parent)) {}
  fiber::CancelSource cancel;
};

void transport_monitor(const fiber::Context& connection) {
  const fiber::CancelSource child = fiber::with_cancel(connection);
  { const fiber::CancelSource attempt = fiber::with_cancel(fiber::with_timeout(child.context(), 1ms)); }
  child.context().wait();
}

void dial(const fiber::Context& caller, bool fixed) {
  auto connection = std::make_unique<Connection>(fixed ? caller : fiber::Context());
  const fiber::Context context = connection->cancel.context();
  if (fixed) {
    fiber::go({.name = "B"}, [context, kept = std::move(connection)] { transport_monitor(context); });
  } else {
    static_cast<void>(connection.release());
    fiber::go({.name = "B"}, [context] { transport_monitor(context); });
  }
}

void grpc_862(bool fixed) {
  fiber::CancelSource source = fiber::with_cancel();
  fiber::go({.name = "A"}, [fixed, caller = source.context()] { dial(caller, fixed); });
  fiber::go({.name = "H"}, [source = std::move(source)]() mutable {
    fiber::sleep_for(100us);
    source.cancel();
  });
}
const Registration r862({"grpc_862", "communication", "reach", "B", "", grpc_862});

// Stopped while a probe is under way, the monitor leaves without taking the probe's result.
void moby_33781(bool fixed) {
  struct Monitor {
    fiber::Channel<Nothing> stop;
    std::atomic<bool> probing{false}, over{false};

    void run(const std::shared_ptr<Monitor>& self, std::size_t capacity) {
      while (round(self, capacity)) continue;
      over = true;
    }
    bool round(const std::shared_ptr<Monitor>& self, std::size_t capacity) {
      bool goes_on = true;
      fiber::select(fiber::on_receive(stop, [&](auto) { goes_on = false; }), fiber::after(100us, [] {}));
      if (!goes_on) return false;

      fiber::CancelSource source = fiber::with_cancel(fiber::with_timeout({}, 1s));
      fiber::Channel<int> results(capacity);
      fiber::go({.name = "P"}, [self, results = results.sender()]() mutable {
        until([&] { return self->over.load(); });
        results.send(1);
        results.close();
      });
      probing = true;
      fiber::select(fiber::on_receive(stop,
                                      [&](auto) {
                                        source.cancel();
                                        goes_on = false;
                                      }),
                    fiber::on_receive(results, [](auto) {}), fiber::on_done(source.context(), [&] {
                      source.cancel();
                      while (results.receive()) continue;
                    }));
      return goes_on;
    }
  };
  auto monitor = std::make_shared<Monitor>();
  fiber::go({.name = "A"}, [fixed, monitor] { monitor->run(monitor, fixed ? 1 : 0); });
  fiber::go({.name = "B"}, [monitor] {
    fiber::sleep_for(200us);
    until([&] { return monitor->probing.load(); });
    monitor->stop.send(Nothing{});
  });
}
const Registration r33781({"moby_33781", "communication", "reach", "P", "", moby_33781, 46});

}  // namespace

}  // namespace goker
