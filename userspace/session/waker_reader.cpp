// SPDX-License-Identifier: BSD-2-Clause
#include "session/waker_reader.h"

#include <algorithm>
#include <unordered_map>

#include "session/map_reader.h"
#include "session/skeleton.h"

namespace fiberprof {

static_assert(FP_BY_FIBER == static_cast<int>(WakerKind::fiber) &&
              FP_BY_WORKER == static_cast<int>(WakerKind::worker) &&
              FP_BY_THREAD == static_cast<int>(WakerKind::thread));
static_assert(FP_WHY_RAN == static_cast<int>(WakerDelay::ran) &&
              FP_WHY_WAITED == static_cast<int>(WakerDelay::waited) &&
              FP_WHY_QUEUED == static_cast<int>(WakerDelay::queued) &&
              FP_WHY_OFF_CPU == static_cast<int>(WakerDelay::off_cpu));
static_assert(FP_CHAIN_WHOLE == static_cast<int>(ChainEnd::whole) &&
              FP_CHAIN_CYCLE == static_cast<int>(ChainEnd::cycle) && FP_CHAIN_DEEP == static_cast<int>(ChainEnd::deep));

namespace {

WakerLink link_of(const fp_link& raw) {
  WakerLink link;
  link.by = static_cast<WakerKind>(raw.by);
  link.thread.assign(raw.thread, strnlen(raw.thread, sizeof raw.thread));
  link.reason = raw.reason;
  link.waker_stack = raw.waker_stack;
  link.delay = static_cast<WakerDelay>(raw.why);
  link.cause = raw.cause;
  link.syscall = raw.syscall;
  link.futex_op = raw.futex_op;
  link.user_stack = raw.user_stack;
  link.kernel_stack = raw.kernel_stack;
  return link;
}

}  // namespace

Result<void> read_chains(const fiberprof_bpf& skeleton, Snapshot& snapshot) {
  for (const BlockedEntry& entry : snapshot.blocked)
    if (entry.chain) snapshot.chains.try_emplace(entry.chain);
  if (snapshot.chains.empty()) return {};
  std::unordered_map<uint64_t, WakerLink> links;
  auto done = read_map<uint64_t, fp_link>(
      skeleton.maps.links, 1, [&](const uint64_t& key, const fp_link* link) { links.emplace(key, link_of(*link)); });
  if (!done) return done;
  return read_map<uint64_t, fp_chain>(skeleton.maps.chains, 1, [&](const uint64_t& key, const fp_chain* raw) {
    const auto chain = snapshot.chains.find(key);
    if (chain == snapshot.chains.end() || !chain->second.links.empty()) return;
    for (uint32_t i = 0; i < std::min<uint32_t>(raw->n, FP_MAX_CHAIN); ++i) {
      const auto link = links.find(raw->links[i]);
      if (link == links.end()) return;  // there was no room for it, and that has been counted
      chain->second.links.push_back(link->second);
    }
    chain->second.end = static_cast<ChainEnd>(raw->end);
  });
}

}  // namespace fiberprof
