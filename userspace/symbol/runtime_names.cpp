// SPDX-License-Identifier: BSD-2-Clause
#include "symbol/runtime_names.h"

#include <algorithm>

#include "symbol/demangle.h"

namespace fiberprof {
namespace {

// Beginnings of qualified names. A namespace ends in "::".
constexpr std::string_view kRuntime[] = {
    "fiber::",          // libfiberrt, its public API and fiber::detail
    "fiber_",           // its functions with C linkage: fiber_entry, fiber_main
    "fiberprof_site_",  // probe sites of any runtime that adopts the contract
};

// Those of them that no program calls by name.
constexpr std::string_view kInternal[] = {"fiber::detail::", "fiber_", "fiberprof_site_"};

constexpr std::string_view kGlue[] = {
    "std::__invoke",
    "std::invoke",
    "std::__apply",
    "std::apply",
    "std::_Function_handler<",
    "std::function<",
    "std::move_only_function<",
    "std::_Bind",
    "std::__1::__invoke",
    "std::__1::__function::",
    "std::__1::function<",
};

constexpr std::string_view kStandard[] = {"std::", "__gnu_cxx::"};
constexpr std::string_view kSystem[] = {"libc.so", "libc-2.", "ld-linux", "libpthread", "libm.so", "[vdso]"};

constexpr std::string_view kMoves[] = {
    "fiber::detail::channel_send",    "fiber::detail::channel_send_limited",
    "fiber::detail::channel_receive", "fiber::detail::channel_receive_limited",
    "fiber::detail::select_arms",
};

// Standard guards over the runtime's locks. Between the lock and the program they say nothing.
constexpr std::string_view kGuards[] = {
    "std::lock_guard<fiber::",
    "std::unique_lock<fiber::",
    "std::shared_lock<fiber::",
    "std::scoped_lock<fiber::",
};

template <size_t N>
bool begins_with_any(std::string_view name, const std::string_view (&table)[N]) {
  return std::any_of(std::begin(table), std::end(table),
                     [&](std::string_view begin) { return name.starts_with(begin); });
}

}  // namespace

bool is_runtime_function(std::string_view demangled) { return begins_with_any(qualified_name(demangled), kRuntime); }

bool is_worker_loop(std::string_view demangled) {
  return qualified_name(demangled) == "fiber::detail::Scheduler::worker_main";
}

bool is_yield(std::string_view demangled) { return qualified_name(demangled) == "fiber::yield"; }

bool moves_values(std::string_view demangled) {
  return std::ranges::find(kMoves, qualified_name(demangled)) != std::end(kMoves);
}

bool is_program_frame(const Frame& frame) {
  const std::string_view binary(frame.binary);
  const std::string_view file = binary.substr(binary.rfind('/') + 1);
  return !frame.runtime && !begins_with_any(qualified_name(frame.function), kStandard) &&
         !begins_with_any(file, kSystem) && frame.function.find("+0x") == std::string::npos;
}

std::string_view runtime_event(std::string_view demangled) {
  const std::string_view name = qualified_name(demangled);
  if (name == "fiber::detail::TimerHeap::fire") return "timer";
  return name == "fiber::detail::Poller::on_events" ? "network" : "";
}

bool is_call_glue(std::string_view demangled) { return begins_with_any(qualified_name(demangled), kGlue); }

std::vector<Frame> fold_runtime_frames(std::vector<Frame> stack) {
  bool under_runtime = false;  // the frame looked at called the runtime, guards apart
  std::erase_if(stack, [&](const Frame& frame) {
    if (under_runtime && !frame.runtime && begins_with_any(qualified_name(frame.function), kGuards)) return true;
    under_runtime = frame.runtime;
    return false;
  });
  // Glue counts as the runtime's when the runtime called it. (Innermost first: the caller is the next frame.)
  for (size_t i = stack.size(); i-- > 0;)
    if (!stack[i].runtime && i + 1 < stack.size() && stack[i + 1].runtime && is_call_glue(stack[i].function))
      stack[i].runtime = true;
  size_t root = stack.size();  // frames from here on are the fiber's entry
  while (root > 0 && stack[root - 1].runtime) --root;
  if (root == 0) {
    if (stack.empty()) return stack;
    // No program frame, as when it was inlined away and there is no debug information: the outermost public function
    // tells most.
    const auto is_public = [](const Frame& frame) {
      return !begins_with_any(qualified_name(frame.function), kInternal);
    };
    const auto best = std::find_if(stack.rbegin(), stack.rend(), is_public);
    return {std::move(best != stack.rend() ? *best : stack.front())};
  }
  std::vector<Frame> kept;
  for (size_t i = 0; i < root; ++i)
    if (!stack[i].runtime || !stack[i + 1].runtime) kept.push_back(std::move(stack[i]));
  return kept;
}

const Frame& own_frame(const std::vector<Frame>& frames) {
  const auto own = std::find_if(frames.begin(), frames.end(),
                                [](const Frame& frame) { return !frame.runtime && !is_call_glue(frame.function); });
  return own != frames.end() ? *own : frames.back();
}

}  // namespace fiberprof
