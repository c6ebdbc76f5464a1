// SPDX-License-Identifier: BSD-2-Clause
// Synchronisation objects of a process (fiberprof_object and what follows it), read from outside. An object is memory
// of the program and may be anything by the time it is read: see fiberprof_object for what may be believed, and when.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "process/registry_view.h"

namespace fiberprof {

struct ObjectInfo {
  uint64_t address = 0;
  uint32_t kind = 0;  // FIBERPROF_OBJECT_*; what follows is as the registry describes it
  uint32_t lock = 0;
  uint64_t owner = 0;
  uint64_t waiters = 0;  // address of the first
  std::string name;      // as the program gave it: not sanitized
  int64_t count = 0;
  // channels
  uint64_t length = 0, capacity = 0, receivers = 0, creator_pc = 0;
  bool closed = false;
  uint32_t timers = 0, send_rights = 0, receive_rights = 0;
  // contexts
  uint64_t parent = 0, scope = 0;
  int64_t deadline_ns = 0;
  uint32_t sources = 0;
  int64_t tokens = 0;   // wait groups
  int64_t most = 0;     // semaphores
  int64_t parties = 0;  // barriers

  bool operator==(const ObjectInfo&) const = default;
};

// Somebody in an object's queue.
struct WaiterInfo {
  uint64_t address = 0;
  uint64_t fiber = 0;   // address of its fiberprof_fiber; 0: a thread that is no fiber
  uint64_t thread = 0;  // FIBERPROF_OWNER_THREAD and its tid
};

// What kind of object a wait of this reason is for; 0: none (sleep, I/O, join), or it has arms.
uint32_t object_kind_of(uint32_t reason);
// "channel"; "object" for what is unknown.
const char* object_kind_text(uint32_t kind);

// Reads objects of one process through its registry's description. Not thread-safe. `view` must outlive it.
class ObjectReader {
 public:
  explicit ObjectReader(RegistryView& view) : view_(view) {}

  // Nothing when there is no object of that kind at `address`. `kind` 0: of any kind.
  std::optional<ObjectInfo> read(uint64_t address, uint32_t kind);
  // Those in a queue, from its first waiter; at most `limit`. Ends at what cannot be read and where the queue returns
  // to itself; `complete`, if given, says whether it came to the end.
  std::vector<WaiterInfo> waiters(uint64_t first, size_t limit, bool* complete = nullptr);

 private:
  // Bytes from an object's address up to the end of its last described field.
  size_t extent(uint32_t kind) const;
  std::string text(uint64_t address);

  RegistryView& view_;
};

}  // namespace fiberprof
