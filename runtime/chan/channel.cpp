// SPDX-License-Identifier: BSD-2-Clause
// Channels. A value goes straight from sender to receiver when one of them waits, else through the ring.
#include "chan/channel.h"

#include <new>

#include "chan/polls.h"
#include "chan/transfer.h"
#include "probe/emit.h"
#include "sched/ready.h"

namespace fiber::detail {

namespace {

constexpr std::size_t kMaxBufferBytes = std::size_t{1} << 40;

// On the nil channel nothing ever happens.
Status wait_for_nothing(const Limit& limit) {
  Claim never(this_fiber());
  return status_of(park_claimed(Reason::NIL_CHANNEL, 0, never, limit));
}

Status result_of(const Waiter& waiter) { return waiter.success ? Status::done : Status::closed; }

// With a limit, or of a thread that is no fiber; apart, because its waiter in the frame of wait_for_peer would cost
// that 3 instructions.
[[gnu::noinline]] Status wait_for_peer_claimed(ChannelCore* core, WaitQueue& queue, Reason reason, void* element,
                                               LockByte& held, const Limit& limit) {
  Waiter waiter(this_fiber());
  waiter.element = element;
  const Status ended = wait_in_claimed(core->object, queue, waiter, reason, held, limit, Place::last);
  if (ended != Status::done) return ended;
  probe::channel_done(core, reason == Reason::CHAN_SEND, true);
  return result_of(waiter);
}

// Waits in `queue` until somebody completes the operation (done) or closes the channel. `held` is that of the channel's
// lock, which this gives up. A null limit: for ever.
[[gnu::always_inline]] inline Status wait_for_peer(ChannelCore* core, WaitQueue& queue, Reason reason, void* element,
                                                   LockByte& held, const Limit* limit) {
  Fiber* fiber = this_fiber();
  if (limit != nullptr) return wait_for_peer_claimed(core, queue, reason, element, held, *limit);
  if (fiber == nullptr) [[unlikely]]
    return wait_for_peer_claimed(core, queue, reason, element, held, {});
  Waiter waiter(fiber);
  waiter.element = element;
  enqueue_waiter(queue, waiter);
  park_locked(reason, address_of(core), held);
  return result_of(waiter);
}

enum class Wait { no, yes };
// Whether somebody may be listening: not on the way through the bias of a channel's lock (bias_of), which is therefore
// as fast as it would be without probes.
enum class Heard { no, yes };

// With the lock released by hand, not by a guard: what a guard's address escapes to made the hot path spill.
template <Wait wait, Heard heard>
[[gnu::always_inline]] inline Status send_locked(ChannelCore* core, void* element, const Limit* limit, LockByte& held) {
  Fiber* wake = nullptr;
  Status result = try_send_locked(core, element, &wake);
  if (result == Status::done) {
    unlock_object(held);
    if (heard == Heard::yes) probe::channel_done(core, true, false);
    if (wake != nullptr) ready_next(wake);
    return result;
  }
  if (result == Status::closed) {
    unlock_object(held);
    send_on_closed(core);
  }
  if (wait == Wait::no) {
    unlock_object(held);
    return result;
  }
  result = wait_for_peer(core, core->senders(), Reason::CHAN_SEND, element, held, limit);
  if (result == Status::closed) send_on_closed(core);
  return result;
}

template <Wait wait, Heard heard>
[[gnu::always_inline]] inline Status receive_locked(ChannelCore* core, void* element, const Limit* limit,
                                                    LockByte& held) {
  Fiber* wake = nullptr;
  const Status result = try_receive_locked(core, element, &wake);
  if (result == Status::done) {
    unlock_object(held);
    if (heard == Heard::yes) probe::channel_done(core, false, false);
    if (wake != nullptr) ready_next(wake);
    return result;
  }
  if (result == Status::closed || wait == Wait::no) {
    unlock_object(held);
    return result;
  }
  return wait_for_peer(core, core->receivers, Reason::CHAN_RECV, element, held, limit);
}

enum class Operation { send, receive };

template <Operation operation, Wait wait, Heard heard>
[[gnu::always_inline]] inline Status operate_locked(ChannelCore* core, void* element, const Limit* limit,
                                                    LockByte& held) {
  return operation == Operation::send ? send_locked<wait, heard>(core, element, limit, held)
                                      : receive_locked<wait, heard>(core, element, limit, held);
}

// The way of those who may be heard, out of line: it would make the other one's frame larger.
template <Operation operation, Wait wait>
[[gnu::noinline]] Status operate_heard(ChannelCore* core, void* element, const Limit* limit, LockByte& held) {
  return operate_locked<operation, wait, Heard::yes>(core, element, limit, held);
}

template <Operation operation, Wait wait>
[[gnu::always_inline]] inline Status operate(ChannelCore* core, void* element, const Limit* limit) {
  if (core == nullptr) [[unlikely]] {
    return wait == Wait::no ? Status::timed_out : wait_for_nothing(limit == nullptr ? Limit() : *limit);
  }
  return with_lock_at_entry(
      core->lock(), [=](LockByte & held, auto heard) __attribute__((always_inline)) {
        if constexpr (heard) {
          const Status result = operate_heard<operation, wait>(core, element, limit, held);
          asm volatile(
              "");  // no tail call: stacks are to show channel_send and the like, for whom the rest is folded away
          return result;
        } else {
          return operate_locked<operation, wait, Heard::no>(core, element, limit, held);
        }
      });
}

}  // namespace

ChannelCore* channel_make(std::size_t capacity, const ElementType& type, const char* name) {
  if (type.size != 0 && capacity > kMaxBufferBytes / type.size) {
    fatal("cannot make a channel of %zu elements of %zu bytes", capacity, type.size);
  }
  const std::size_t align = type.align < alignof(ChannelCore) ? alignof(ChannelCore) : type.align;
  const std::size_t header = (sizeof(ChannelCore) + align - 1) / align * align;
  void* memory = ::operator new (header + capacity * type.size, std::align_val_t{align}, std::nothrow);
  if (memory == nullptr) fatal("no memory for a channel of %zu elements of %zu bytes", capacity, type.size);
  auto* core = new (memory) ChannelCore;
  core->object.name = name;
  core->rights.store(static_cast<std::uint64_t>(ChannelRight::send) + static_cast<std::uint64_t>(ChannelRight::receive),
                     std::memory_order_relaxed);
  core->creator_pc = address_of(__builtin_return_address(0));
  core->capacity = capacity;
  core->type = type;
  core->buffer = static_cast<std::byte*>(memory) + header;
  FIBER_EMIT(chan_make, id_of(this_fiber()), address_of(core), capacity);
  return core;
}

void channel_retain(ChannelCore* core, ChannelRight right) {
  core->rights.fetch_add(static_cast<std::uint64_t>(right), std::memory_order_relaxed);
}

void channel_release(ChannelCore* core, ChannelRight right) {
  const auto one = static_cast<std::uint64_t>(right);
  if (core->rights.fetch_sub(one, std::memory_order_acq_rel) != one) return;
  for (; core->length != 0; --core->length) {
    core->type.destroy(core->slot(core->first));
    core->first = core->after(core->first);
  }
  const std::size_t align = core->type.align < alignof(ChannelCore) ? alignof(ChannelCore) : core->type.align;
  core->~ChannelCore();
  ::operator delete (core, std::align_val_t{align});
}

void send_on_closed(const ChannelCore* core) { fatal("send on closed %s", describe(core->object).c_str()); }

void channel_send(ChannelCore* core, void* element) { operate<Operation::send, Wait::yes>(core, element, nullptr); }
Status channel_try_send(ChannelCore* core, void* element) {
  const Status result = operate<Operation::send, Wait::no>(core, element, nullptr);
  polled(result == Status::done, __builtin_return_address(0));
  return result;
}
Status channel_send_limited(ChannelCore* core, void* element, const Limit& limit) {
  return operate<Operation::send, Wait::yes>(core, element, &limit);
}

Status channel_receive(ChannelCore* core, void* element) {
  return operate<Operation::receive, Wait::yes>(core, element, nullptr);
}
Status channel_try_receive(ChannelCore* core, void* element) {
  const Status result = operate<Operation::receive, Wait::no>(core, element, nullptr);
  polled(result == Status::done, __builtin_return_address(0));
  return result;
}
Status channel_receive_limited(ChannelCore* core, void* element, const Limit& limit) {
  return operate<Operation::receive, Wait::yes>(core, element, &limit);
}

void channel_close(ChannelCore* core) {
  if (core == nullptr) fatal("close of a nil channel");
  ObjectGuard guard(core->lock(), kAtEntry);
  if (core->closed != 0) {
    guard.unlock();
    fatal("close of closed %s", describe(core->object).c_str());
  }
  core->closed = 1;
  // Receivers get nothing; senders find out that they sent on a closed channel.
  while (Waiter* waiter = pop_waiter(core->receivers)) {
    if (waiter->wait == nullptr) ready(waiter->fiber, ReadyHint::last);
  }
  while (Waiter* waiter = pop_waiter(core->senders())) {
    if (waiter->wait == nullptr) ready(waiter->fiber, ReadyHint::last);
  }
  FIBER_EMIT(chan_close, id_of(this_fiber()), address_of(core), core->length, core->capacity);
}

// Reads unlocked, as tools do, what is written as a plain word: an atomic store would cost a buffered channel 7
// instructions.
[[gnu::no_sanitize("thread")]] std::size_t channel_length(const ChannelCore* core) {
  return core == nullptr ? 0 : __atomic_load_n(&core->length, __ATOMIC_RELAXED);
}

std::size_t channel_capacity(const ChannelCore* core) { return core == nullptr ? 0 : core->capacity; }

}  // namespace fiber::detail
