// SPDX-License-Identifier: BSD-2-Clause
// Sending and receiving without waiting, with the channel's lock held: what send, receive and select have in common.
#pragma once

#include <cstring>

#include "chan/channel.h"

namespace fiber::detail {

// Constructs *to from *from, which the caller still has to destroy.
[[gnu::always_inline]] inline void move_element(const ChannelCore* core, void* to, void* from) {
  if (core->type.word) [[likely]] {
    std::memcpy(to, from, 8);
  } else {
    core->type.move(to, from);
  }
}

// A waiter popped from a queue has its value. Whoever has to be made runnable, once the lock is free, goes into `wake`.
[[gnu::always_inline]] inline void complete(Waiter* waiter, Fiber** wake) {
  waiter->success = true;
  if (waiter->wait == nullptr) *wake = waiter->fiber;
}

// Done, closed, or timed_out: it would have to wait.
[[gnu::always_inline]] inline Status try_send_locked(ChannelCore* core, void* element, Fiber** wake) {
  if (core->closed != 0) [[unlikely]]
    return Status::closed;
  if (Waiter* receiver = pop_waiter(core->receivers)) {
    move_element(core, receiver->element, element);
    complete(receiver, wake);
    return Status::done;
  }
  if (core->length == core->capacity) return Status::timed_out;
  move_element(core, core->slot(core->end()), element);
  ++core->length;
  return Status::done;
}

[[gnu::always_inline]] inline Status try_receive_locked(ChannelCore* core, void* element, Fiber** wake) {
  if (core->length != 0) {
    void* oldest = core->slot(core->first);
    move_element(core, element, oldest);
    if (!core->type.word) core->type.destroy(oldest);
    core->first = core->after(core->first);
    --core->length;
    // A sender that waited for room takes the freed slot, behind everything already there.
    if (Waiter* sender = pop_waiter(core->senders())) {
      move_element(core, core->slot(core->end()), sender->element);
      ++core->length;
      complete(sender, wake);
    }
    return Status::done;
  }
  if (Waiter* sender = pop_waiter(core->senders())) {
    move_element(core, element, sender->element);
    complete(sender, wake);
    return Status::done;
  }
  return core->closed != 0 ? Status::closed : Status::timed_out;
}

}  // namespace fiber::detail
