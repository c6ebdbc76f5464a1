// SPDX-License-Identifier: BSD-2-Clause
// The public Timer and Ticker, on the processors' timer heaps.
#include "chan/channel.h"
#include "fiber/timer.h"
#include "sched/clock.h"
#include "sched/scheduler.h"
#include "sched/seeded.h"
#include "time/timers.h"

namespace fiber::detail {

// Two locks in order: `lock` keeps those apart who set and stop; the heap's, under which `expired` runs, keeps them
// apart from that.
struct Alarm : detail::Timer {
  explicit Alarm(std::function<void()> start) {
    if (start) {
      spawn = std::make_shared<const std::function<void()>>(std::move(start));
    } else {
      channel.emplace(1);
    }
    expired = [](detail::Timer& timer) { static_cast<Alarm&>(timer).go_off(); };
  }

  void go_off() {
    if (spawn) {
      // It copies the user's function, which may do anything.
      heap->after_firing([function = spawn] { (*function)(); });
      return;
    }
    if (period == 0) announce(0);
    Deadline now{Deadline::duration(static_cast<Deadline::rep>(timer_now()))};
    channel->try_send(now);
  }
  // For outside readers: whether a value will come by itself.
  void announce(std::uint32_t timers) {
    if (channel) publish(static_cast<Sender<Deadline>&>(*channel).core()->timers, timers);
  }
  bool stop_locked() {
    const bool was_set = disarm(*this);
    announce(0);
    return (channel && channel->try_receive().has_value()) || was_set;
  }

  SpinLock lock;
  std::shared_ptr<const std::function<void()>> spawn;  // shared with a start that stop() has come too late for
  std::optional<Channel<Deadline>> channel;
};

void AlarmDelete::operator()(Alarm* alarm) const {
  alarm_stop(alarm);
  delete alarm;
}

AlarmPtr alarm_make(std::function<void()> spawn) { return AlarmPtr(new Alarm(std::move(spawn))); }

bool alarm_set(Alarm* alarm, Deadline when, std::chrono::nanoseconds period) {
  if (alarm == nullptr) fatal("reset of a timer or ticker that was never made");
  seeded::sync_point();
  const seeded::Undivided undivided;
  std::lock_guard guard(alarm->lock);
  const bool in_time = alarm->stop_locked();
  if (when == Deadline::max()) return in_time;
  const auto ns = when.time_since_epoch().count();
  alarm->when = ns < 0 ? 0 : static_cast<std::uint64_t>(ns);
  alarm->period = static_cast<std::uint64_t>(period.count());
  alarm->announce(1);
  Scheduler::instance().arm(*alarm);
  return in_time;
}

bool alarm_stop(Alarm* alarm) {
  if (alarm == nullptr) return false;
  seeded::sync_point();
  const seeded::Undivided undivided;
  std::lock_guard guard(alarm->lock);
  return alarm->stop_locked();
}

Receiver<Deadline> alarm_channel(const Alarm* alarm) {
  return alarm == nullptr || !alarm->channel ? Receiver<Deadline>() : alarm->channel->receiver();
}

std::chrono::nanoseconds alarm_period(std::chrono::nanoseconds period) {
  if (period.count() <= 0)
    fatal("a ticker needs a period above zero, not %lld ns", static_cast<long long>(period.count()));
  return period;
}

}  // namespace fiber::detail
