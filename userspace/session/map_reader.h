// SPDX-License-Identifier: BSD-2-Clause
// Whole hash maps of the kernel, in batches where it has them (5.6), else entry by entry.
#pragma once

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "support/error.h"

namespace fiberprof {

// Calls `visit(key, values)` for each entry of a hash map; `values` points at one value per possible CPU for per-CPU
// maps (`cpus` > 1 or not), else at one. Entries inserted meanwhile may or may not be seen, none is seen twice.
template <class Key, class Value, class Visit>
Result<void> read_map(const bpf_map* map, int cpus, const Visit& visit) {
  static_assert(sizeof(Value) % 8 == 0, "the kernel rounds per-CPU values up to 8 bytes");
  const int fd = bpf_map__fd(map);
  const auto per_entry = static_cast<size_t>(cpus);
  uint32_t capacity = 256;
  std::vector<Key> keys(capacity);
  std::vector<Value> values(capacity * per_entry);
  uint32_t position = 0;
  bool first = true, batches = true;
  while (batches) {
    uint32_t count = capacity, next = 0;
    LIBBPF_OPTS(bpf_map_batch_opts, opts);
    const int error =
        bpf_map_lookup_batch(fd, first ? nullptr : &position, &next, keys.data(), values.data(), &count, &opts);
    if (error == -ENOSPC && capacity < (1u << 20)) {  // one bucket holds more than fits
      capacity *= 4;
      keys.resize(capacity);
      values.resize(capacity * per_entry);
      continue;
    }
    if (error && error != -ENOENT) {
      if (!first) return fail(std::string("cannot read map ") + bpf_map__name(map), std::strerror(-error));
      batches = false;
      break;
    }
    for (uint32_t i = 0; i < count; ++i) visit(keys[i], &values[i * per_entry]);
    if (error == -ENOENT) return {};
    position = next;
    first = false;
  }
  std::vector<Key> all;
  Key key{};
  int error = bpf_map_get_next_key(fd, nullptr, &key);
  while (!error && all.size() < bpf_map__max_entries(map)) {
    all.push_back(key);
    error = bpf_map_get_next_key(fd, &all.back(), &key);
  }
  for (const Key& each : all)
    if (bpf_map_lookup_elem(fd, &each, values.data()) == 0) visit(each, values.data());
  return {};
}

}  // namespace fiberprof
