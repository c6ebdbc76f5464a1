// SPDX-License-Identifier: BSD-2-Clause
// Which reader-writer locks the caller holds for reading: in its own registry record, where no other fiber writes,
// rather than in the lock, where every reader would. The first few are known one by one, the rest by number.
#pragma once

#include "fiber/object.h"
#include "sched/fiber.h"

namespace fiber::detail {

// How many read-locks threads that are no fibers hold, or may be getting: counted before a thread tries and after it
// has given up or released, so that whoever looks from outside never misses one.
void count_thread_hold(std::int64_t change);

// `fiber` is the caller's; null: the calling thread.
void hold_shared(Fiber* fiber, const Object& object);
// False: the caller does not hold it.
bool drop_shared(Fiber* fiber, const Object& object);
// Whether it is certain that the caller holds it.
bool holds_shared(const Fiber* fiber, const Object& object);
// Empties the record of a fiber that has ended: what it held stays locked.
void forget_shared(Fiber* fiber);

}  // namespace fiber::detail
