// SPDX-License-Identifier: BSD-2-Clause
// Sections that block the thread: system calls that epoll cannot wait for, foreign locks, long foreign code.
#pragma once

#include <type_traits>
#include <utility>

#include "fiber/config.h"

namespace fiber {

namespace detail {
FIBER_API void blocking_begin();
FIBER_API void blocking_end();
struct BlockingSection {
  BlockingSection() { blocking_begin(); }
  ~BlockingSection() { blocking_end(); }
  BlockingSection(const BlockingSection&) = delete;
  BlockingSection& operator=(const BlockingSection&) = delete;
};
}  // namespace detail

// Runs `function` on this thread. When it takes long, the monitor hands this fiber's processor to another worker
// thread (thread handoff), so other fibers go on. Inside, the fiber must not park. Nests. Outside a fiber: a plain
// call.
template <class F>
decltype(auto) blocking(F&& function) {
  detail::BlockingSection section;
  return std::forward<F>(function)();
}

}  // namespace fiber
