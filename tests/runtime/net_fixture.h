// SPDX-License-Identifier: BSD-2-Clause
// What the tests of sockets share: a runtime with 1, 2 and 4 processors, and ways to wait for what others do.
#pragma once

#include <fiber/all.h>
#include <gtest/gtest.h>

#include <unistd.h>
#include <string>

#include "runtime/observe.h"
#include "runtime/on_processors.h"

using namespace std::chrono_literals;

namespace net_test {

// Yields until a fiber is parked for that reason on that descriptor.
inline void await_waiting(fiberprof_reason reason, int fd) {
  for (;;) {
    for (const std::uint64_t fiber : observe::fibers()) {
      if (OBSERVE(fiber, fiber, state) == FIBERPROF_FIBER_PARKED && OBSERVE(fiber, fiber, reason) == reason &&
          OBSERVE(fiber, fiber, resource) == static_cast<std::uint64_t>(fd)) {
        return;
      }
    }
    fiber::yield();
  }
}

// Two ends of a connection over loopback.
struct TcpPair {
  fiber::TcpListener listener = fiber::TcpListener::listen("127.0.0.1", 0);
  fiber::TcpStream client = fiber::TcpStream::connect("127.0.0.1", listener.port());
  fiber::TcpStream server = listener.accept();
};

// A name in the abstract space that no other process has.
inline std::string abstract_name(const char* what) { return "@fiber-test-" + std::to_string(getpid()) + '-' + what; }

}  // namespace net_test
