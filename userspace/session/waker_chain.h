// SPDX-License-Identifier: BSD-2-Clause
// Who ended a wait, and what that fiber had been waiting for meanwhile, as the kernel side tells it
// (bpf/waker.bpf.h has the rules).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fiberprof {

using ChainId = uint64_t;  // 0: not known

enum class WakerKind : uint8_t {
  fiber,
  worker,  // the runtime itself, on a worker without a fiber: a timer, a socket
  thread,  // any other thread
};

// What kept a waker from running during the wait it ended.
enum class WakerDelay : uint8_t {
  ran,      // nothing for long
  waited,   // its own wait
  queued,   // it was runnable, without a processor
  off_cpu,  // its worker thread was off its CPU
};

struct WakerLink {
  WakerKind by{};
  std::string thread;        // its name, if `by` is thread
  uint8_t reason = 0;        // of the wait that was ended
  uint64_t waker_stack = 0;  // StackId
  WakerDelay delay{};
  uint8_t cause = 0;          // waited: reason; off_cpu: OffCpuCause
  int32_t syscall = -1;       // off_cpu
  uint32_t futex_op = 0;      // off_cpu
  uint64_t user_stack = 0;    // waited, off_cpu
  uint64_t kernel_stack = 0;  // off_cpu
};

enum class ChainEnd : uint8_t {
  whole,
  cycle,  // the next waker is in the chain already
  deep,   // longer than the kernel side follows
};

struct WakerChain {
  std::vector<WakerLink> links;  // the wake-up of the wait in question first
  ChainEnd end{};
};

}  // namespace fiberprof
