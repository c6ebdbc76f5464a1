// SPDX-License-Identifier: BSD-2-Clause
#include "history.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace random_program {

namespace {

using Key = std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>;
Key key(const Message& message) { return {message.channel, message.sender, message.sequence}; }

std::string name(const Message& message) {
  return "value " + std::to_string(message.sequence) + " of actor " + std::to_string(message.sender) + " on channel " +
         std::to_string(message.channel);
}

}  // namespace

Log& History::new_log(std::uint32_t& id) {
  std::lock_guard guard(mutex_);
  id = static_cast<std::uint32_t>(logs_.size());
  return logs_.emplace_back();
}

void History::wrong(const std::string& what) {
  std::lock_guard guard(mutex_);
  if (++wrongs_ <= 10) found_ += what + "\n";
}

std::uint64_t History::operations() const {
  std::uint64_t all = 0;
  for (const Log& log : logs_) all += log.operations;
  return all;
}

void History::check() {
  std::map<Key, Sent> sent;
  std::map<Key, Received> received;
  for (const Log& log : logs_) {
    for (const Sent& event : log.sent) sent.emplace(key(event.message), event);
  }
  for (const Log& log : logs_) {
    std::map<std::pair<std::uint32_t, std::uint32_t>, std::uint32_t> last;
    for (const Received& event : log.received) {
      const Message& message = event.message;
      if (!sent.contains(key(message))) wrong(name(message) + " was received but not sent");
      if (!received.emplace(key(message), event).second) wrong(name(message) + " was received twice");
      // First in, first out, as one receiver sees it.
      const auto [before, first] = last.emplace(std::pair(message.channel, message.sender), message.sequence);
      if (!first && before->second >= message.sequence) wrong(name(message) + " came after a later one");
      before->second = message.sequence;
    }
  }

  std::vector<std::vector<const Sent*>> by_channel(capacities_.size());
  for (const auto& [id, event] : sent) {
    const auto there = received.find(id);
    if (there == received.end()) {
      wrong(name(event.message) + " was sent but never received");
      continue;
    }
    if (there->second.end < event.start) wrong(name(event.message) + " was received before it was sent");
    // First in, first out, as the clock sees it: all but values whose receives overlap.
    const auto next = received.find(Key{event.message.channel, event.message.sender, event.message.sequence + 1});
    if (next != received.end() && next->second.end < there->second.start) {
      wrong(name(event.message) + " was overtaken by the next one");
    }
    by_channel[event.message.channel].push_back(&event);
  }

  // No more sends have ended than there is room for behind the receives that had begun.
  for (std::uint32_t channel = 0; channel < capacities_.size(); ++channel) {
    std::vector<std::pair<Moment, int>> moments;
    for (const Sent* event : by_channel[channel]) {
      moments.emplace_back(event->end, +1);
      moments.emplace_back(received.at(key(event->message)).start, -1);
    }
    std::sort(moments.begin(), moments.end());
    std::int64_t held = 0;
    for (const auto& [moment, change] : moments) {
      held += change;
      if (held > static_cast<std::int64_t>(capacities_[channel])) {
        wrong("channel " + std::to_string(channel) + " held more than its capacity of " +
              std::to_string(capacities_[channel]));
        break;
      }
    }
  }

  // Closed means drained: no receive of a value begins after somebody was told so.
  for (const Log& log : logs_) {
    for (const SawClosed& told : log.closed) {
      for (const Sent* event : by_channel[told.channel]) {
        const Received& at = received.at(key(event->message));
        if (at.start > told.end) wrong(name(event->message) + " was received after the channel was said to be drained");
        if (event->start > told.end) wrong(name(event->message) + " was sent on a closed channel");
      }
    }
  }
}

}  // namespace random_program
