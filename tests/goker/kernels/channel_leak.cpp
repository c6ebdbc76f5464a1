// SPDX-License-Identifier: BSD-2-Clause
// Channels whose other side can never come.
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
      fiber::select(fiber::on_receive(ticker.channel(), [&](auto) { ticks.try_send(Nothing{}); }),
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
const Registration r70277({"kubernetes_70277", "communication", "reach", "M", "", kubernetes_70277, "A"});

}  // namespace

}  // namespace goker
