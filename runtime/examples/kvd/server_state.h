// SPDX-License-Identifier: BSD-2-Clause
// What all connections share.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "options.h"
#include "store.h"

namespace kvd {

class Log;

struct ServerState {
  ServerState(const Options& chosen, Store& data) : options(chosen), store(data) {}

  const Options& options;
  Store& store;
  Log* log = nullptr;  // none: nothing is kept
  std::uint16_t port = 0;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  std::atomic<std::uint64_t> connections{0};        // now
  std::atomic<std::uint64_t> connections_total{0};  // ever
  std::atomic<std::uint64_t> commands_total{0};     // added up per batch, so a little behind
};

}  // namespace kvd
