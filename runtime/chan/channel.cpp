// SPDX-License-Identifier: BSD-2-Clause
// Channels. A value goes straight from sender to receiver when one of them waits, else through the ring.
#include "chan/channel.h"

#include <new>

#include "probe/emit.h"
#include "sched/this_worker.h"

namespace fiber::detail {

namespace {

constexpr std::size_t kMaxBufferBytes = std::size_t{1} << 40;

[[noreturn]] void wait_for_ever(Reason reason) {
  Claim never(this_fiber());
  for (;;) park_claimed(reason, 0, never);
}

// Waits in `queue` until somebody completes the operation or closes the channel. `guard` holds the lock.
bool wait_in(ChannelCore* core, ChannelCore::Queue& queue, Reason reason, void* element, SpinGuard& guard) {
  Waiter waiter;
  waiter.fiber = this_fiber();
  waiter.element = element;
  if (waiter.fiber != nullptr) {
    enqueue_waiter(queue, waiter);
    park_locked(reason, address_of(core), guard.hand_over());
    return waiter.success;
  }
  Claim wait(nullptr);
  waiter.wait = &wait;
  enqueue_waiter(queue, waiter);
  guard.unlock();
  park_claimed(reason, address_of(core), wait);
  SpinGuard finished(core->lock);  // the waker moves the value after it has won the claim
  return waiter.success;
}

}  // namespace

ChannelCore* channel_make(std::size_t capacity, const ElementType& type) {
  if (type.size != 0 && capacity > kMaxBufferBytes / type.size) {
    fatal("cannot make a channel of %zu elements of %zu bytes", capacity, type.size);
  }
  const std::size_t align = type.align < alignof(ChannelCore) ? alignof(ChannelCore) : type.align;
  const std::size_t header = (sizeof(ChannelCore) + align - 1) / align * align;
  void* memory = ::operator new(header + capacity * type.size, std::align_val_t{align}, std::nothrow);
  if (memory == nullptr) fatal("no memory for a channel of %zu elements of %zu bytes", capacity, type.size);
  auto* core = new (memory) ChannelCore;
  core->capacity = capacity;
  core->type = type;
  core->buffer = static_cast<std::byte*>(memory) + header;
  FIBER_EMIT(chan_make, id_of(this_fiber()), address_of(core), capacity);
  return core;
}

void channel_retain(ChannelCore* core) { core->references.fetch_add(1, std::memory_order_relaxed); }

void channel_release(ChannelCore* core) {
  if (core->references.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  for (; core->length != 0; --core->length) {
    core->type.destroy(core->slot(core->first));
    core->first = core->first + 1 == core->capacity ? 0 : core->first + 1;
  }
  const std::size_t align = core->type.align < alignof(ChannelCore) ? alignof(ChannelCore) : core->type.align;
  core->~ChannelCore();
  ::operator delete(core, std::align_val_t{align});
}

TryResult try_send_locked(ChannelCore* core, void* element, Fiber** wake) {
  if (core->closed) return TryResult::closed;
  if (Waiter* receiver = pop_waiter(core->receivers)) {
    core->type.move(receiver->element, element);
    receiver->success = true;
    if (receiver->wait == nullptr) *wake = receiver->fiber;
    return TryResult::done;
  }
  if (core->length == core->capacity) return TryResult::would_block;
  std::size_t last = core->first + core->length;
  if (last >= core->capacity) last -= core->capacity;
  core->type.move(core->slot(last), element);
  ++core->length;
  return TryResult::done;
}

TryResult try_receive_locked(ChannelCore* core, void* element, Fiber** wake) {
  if (core->length != 0) {
    void* oldest = core->slot(core->first);
    core->type.move(element, oldest);
    core->type.destroy(oldest);
    core->first = core->first + 1 == core->capacity ? 0 : core->first + 1;
    --core->length;
    // A sender that waited for room takes the freed slot, behind everything already there.
    if (Waiter* sender = pop_waiter(core->senders)) {
      std::size_t last = core->first + core->length;
      if (last >= core->capacity) last -= core->capacity;
      core->type.move(core->slot(last), sender->element);
      ++core->length;
      sender->success = true;
      if (sender->wait == nullptr) *wake = sender->fiber;
    }
    return TryResult::done;
  }
  if (Waiter* sender = pop_waiter(core->senders)) {
    core->type.move(element, sender->element);
    sender->success = true;
    if (sender->wait == nullptr) *wake = sender->fiber;
    return TryResult::done;
  }
  return core->closed ? TryResult::closed : TryResult::would_block;
}

void send_on_closed(const ChannelCore* core) { fatal("send on closed channel %p", static_cast<const void*>(core)); }

ChannelResult channel_send(ChannelCore* core, void* element, Wait wait) {
  if (core == nullptr) {
    if (wait == Wait::no) return ChannelResult::would_block;
    wait_for_ever(Reason::NIL_CHANNEL);
  }
  Fiber* wake = nullptr;
  SpinGuard guard(core->lock);
  switch (try_send_locked(core, element, &wake)) {
    case TryResult::closed:
      guard.unlock();
      send_on_closed(core);
    case TryResult::done:
      guard.unlock();
      probe::channel_done(core, true, wake);
      if (wake != nullptr) ready_unprobed(wake);
      return ChannelResult::done;
    case TryResult::would_block:
      break;
  }
  if (wait == Wait::no) return ChannelResult::would_block;
  if (!wait_in(core, core->senders, Reason::CHAN_SEND, element, guard)) send_on_closed(core);
  probe::channel_done_blocked(core, true);
  return ChannelResult::done;
}

ChannelResult channel_receive(ChannelCore* core, void* element, Wait wait) {
  if (core == nullptr) {
    if (wait == Wait::no) return ChannelResult::would_block;
    wait_for_ever(Reason::NIL_CHANNEL);
  }
  Fiber* wake = nullptr;
  SpinGuard guard(core->lock);
  switch (try_receive_locked(core, element, &wake)) {
    case TryResult::done:
      guard.unlock();
      probe::channel_done(core, false, wake);
      if (wake != nullptr) ready_unprobed(wake);
      return ChannelResult::done;
    case TryResult::closed:
      return ChannelResult::closed;
    case TryResult::would_block:
      break;
  }
  if (wait == Wait::no) return ChannelResult::would_block;
  const bool received = wait_in(core, core->receivers, Reason::CHAN_RECV, element, guard);
  probe::channel_done_blocked(core, false);
  return received ? ChannelResult::done : ChannelResult::closed;
}

void channel_close(ChannelCore* core) {
  if (core == nullptr) fatal("close of a nil channel");
  SpinGuard guard(core->lock);
  if (core->closed) {
    guard.unlock();
    fatal("close of closed channel %p", static_cast<void*>(core));
  }
  core->closed = true;
  // Receivers get nothing; senders find out that they sent on a closed channel.
  while (Waiter* waiter = pop_waiter(core->receivers)) {
    if (waiter->wait == nullptr) ready(waiter->fiber, ReadyHint::last);
  }
  while (Waiter* waiter = pop_waiter(core->senders)) {
    if (waiter->wait == nullptr) ready(waiter->fiber, ReadyHint::last);
  }
  FIBER_EMIT(chan_close, id_of(this_fiber()), address_of(core), core->length, core->capacity);
}

std::size_t channel_length(const ChannelCore* core) {
  return core == nullptr ? 0 : __atomic_load_n(&core->length, __ATOMIC_RELAXED);
}

std::size_t channel_capacity(const ChannelCore* core) { return core == nullptr ? 0 : core->capacity; }

}  // namespace fiber::detail
