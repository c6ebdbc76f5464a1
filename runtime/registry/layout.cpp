// SPDX-License-Identifier: BSD-2-Clause
// Checks, at compile time, that the runtime's own objects lie in memory as the registry describes them.
#include <cstddef>

#include "chan/channel.h"
#include "fiber/barrier.h"
#include "fiber/semaphore.h"
#include "fiber/sync.h"
#include "sync/cancellation.h"

namespace fiber::detail {

struct Layout {
#define FIBER_SAME(type, member, structure, field)                                  \
  static_assert(offsetof(type, member) == offsetof(fiberprof_##structure, field) && \
                sizeof(type::member) >= sizeof(static_cast<fiberprof_##structure*>(nullptr)->field))
#define FIBER_SAME_KIND(name, NAME) static_assert(static_cast<int>(ObjectKind::name) == FIBERPROF_OBJECT_##NAME)

  FIBER_SAME_KIND(mutex, MUTEX);
  FIBER_SAME_KIND(rwlock, RWLOCK);
  FIBER_SAME_KIND(condition, CONDITION);
  FIBER_SAME_KIND(wait_group, WAIT_GROUP);
  FIBER_SAME_KIND(once, ONCE);
  FIBER_SAME_KIND(semaphore, SEMAPHORE);
  FIBER_SAME_KIND(barrier, BARRIER);
  FIBER_SAME_KIND(channel, CHANNEL);
  FIBER_SAME_KIND(context, CONTEXT);

  static_assert(sizeof(Object) == sizeof(fiberprof_object));
  FIBER_SAME(Object, kind, object, kind);
  static_assert(offsetof(Object, lock) == offsetof(fiberprof_object, lock) && offsetof(ObjectLock, bias) == 4);
  FIBER_SAME(Object, owner, object, owner);
  FIBER_SAME(Object, waiters, object, waiters);
  FIBER_SAME(Object, name, object, name);
  FIBER_SAME(Object, count, object, count);
  FIBER_SAME(Waiter, fiber, waiter, fiber);
  FIBER_SAME(Waiter, thread, waiter, thread);
  FIBER_SAME(Waiter, next, waiter, next);
  // Where the fiber's own registry slot is expected.
  static_assert(offsetof(Fiber, record) == 0);

  FIBER_SAME(WaitGroup, object_, wait_group, object);
  FIBER_SAME(WaitGroup, tokens_, wait_group, tokens);
  FIBER_SAME(Semaphore, object_, semaphore, object);
  FIBER_SAME(Semaphore, most_, semaphore, most);
  FIBER_SAME(Barrier, object_, barrier, object);
  FIBER_SAME(Barrier, parties_, barrier, parties);
  FIBER_SAME(ChannelCore, object, channel, object);
  FIBER_SAME(ChannelCore, length, channel, length);
  FIBER_SAME(ChannelCore, capacity, channel, capacity);
  FIBER_SAME(ChannelCore, receivers, channel, receivers);
  FIBER_SAME(ChannelCore, closed, channel, closed);
  FIBER_SAME(ChannelCore, timers, channel, timers);
  FIBER_SAME(ChannelCore, rights, channel, send_rights);
  FIBER_SAME(ChannelCore, creator_pc, channel, creator_pc);
  FIBER_SAME(ChannelCore, send_handle, channel, send_handle);
  FIBER_SAME(ChannelCore, receive_handle, channel, receive_handle);
  static_assert(handle_offset(ChannelRight::send) == offsetof(ChannelCore, send_handle));
  static_assert(handle_offset(ChannelRight::receive) == offsetof(ChannelCore, receive_handle));
  FIBER_SAME(ContextCore, object, context, object);
  FIBER_SAME(ContextCore, parent, context, parent);
  FIBER_SAME(ContextCore, scope, context, scope);
  FIBER_SAME(ContextCore, deadline, context, deadline);
  FIBER_SAME(ContextCore, sources, context, sources);
  FIBER_SAME(ContextCore, cancel_handle, context, cancel_handle);
  static_assert(kCancelHandle == offsetof(ContextCore, cancel_handle));

#undef FIBER_SAME
#undef FIBER_SAME_KIND
};

}  // namespace fiber::detail
