// SPDX-License-Identifier: BSD-2-Clause
// Conditions that nobody will signal again.
#include "goker/kernels/kernel.h"

namespace goker {

namespace {

// Runs `function` in a fiber, and closes the result when it is over.
template <class F>
fiber::Receiver<Nothing> after_it(F function) {
  fiber::Channel<Nothing> over;
  fiber::go({.name = "W"}, [function = std::move(function), over = over.sender()]() mutable {
    function();
    over.close();
  });
  return over;
}

// The last signal comes before the newest waiter has begun to wait. (The original's waiter releases a lock that its
// creator took; this one takes it itself.)
void kubernetes_11298(bool fixed) {
  struct Machine {
    fiber::Mutex mutex;
    fiber::Condition changed;
    bool over = false;
    fiber::Channel<Nothing> abort, finished;
    std::atomic<bool> watching{false}, last_signal{false};

    bool closed(const fiber::Channel<Nothing>& channel) {
      bool is = false;
      fiber::select(fiber::on_receive(channel, [&](auto) { is = true; }), fiber::otherwise([] {}));
      return is;
    }
    void await_change(bool looks) {
      until([this] { return last_signal.load(); });
      std::unique_lock guard(mutex);
      if (!looks || !over) changed.wait(guard);
    }
    void watch(bool repaired) {
      while (!closed(finished)) {
        fiber::Receiver<Nothing> change = after_it([this, repaired] { await_change(repaired); });
        watching = true;
        bool ends = false;
        fiber::select(fiber::on_receive(change, [](auto) {}), fiber::on_receive(finished, [&](auto) { ends = true; }));
        if (!ends) continue;
        {
          std::lock_guard guard(mutex);
          over = true;
          changed.notify_one();
        }
        last_signal = true;
        change.receive();
        return;
      }
    }
    void signal() {
      while (!closed(abort)) {
        {
          std::lock_guard guard(mutex);
          changed.notify_one();
        }
        fiber::yield();
      }
      finished.close();
    }
  };
  auto machine = std::make_shared<Machine>();
  auto watcher = fiber::spawn({.name = "A"}, [fixed, machine] { machine->watch(fixed); });
  fiber::go({.name = "S"}, [machine] { machine->signal(); });
  fiber::go({.name = "H"}, [machine] {
    fiber::sleep_for(std::chrono::microseconds(200));
    until([&] { return machine->watching.load(); });
    machine->abort.close();
  });
  watcher.join();
}
const Registration r11298({"kubernetes_11298", "communication", "reach", "A,M,W", "", kubernetes_11298, 14});

// A failed activation stores its error; who waits looks for the manifest only, and nobody signals.
void moby_30408(bool fixed) {
  struct Plugin {
    fiber::Mutex mutex;
    fiber::Condition activated;
    bool manifest = false, failed = false;
  };
  Plugin plugin;
  plugin.failed = true;
  fiber::Channel<Nothing> done;
  fiber::go({.name = "A"}, [fixed, &plugin, done = done.sender()]() mutable {
    {
      std::unique_lock guard(plugin.mutex);
      while (!plugin.manifest && !(fixed && plugin.failed)) plugin.activated.wait(guard);
    }
    done.close();
  });
  done.receive();
}
const Registration r30408({"moby_30408", "communication", "reach", "A,M", "", moby_30408});

}  // namespace

}  // namespace goker
