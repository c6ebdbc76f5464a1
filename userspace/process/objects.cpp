// SPDX-License-Identifier: BSD-2-Clause
#include "process/objects.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <array>
#include <span>
#include <unordered_set>

namespace fiberprof {
namespace {

using Field = fiberprof_field_index;

constexpr std::array kObjectFields = {FIBERPROF_FIELD_object_kind,  FIBERPROF_FIELD_object_lock,
                                      FIBERPROF_FIELD_object_owner, FIBERPROF_FIELD_object_waiters,
                                      FIBERPROF_FIELD_object_name,  FIBERPROF_FIELD_object_count};
constexpr std::array kChannelFields = {FIBERPROF_FIELD_channel_length,     FIBERPROF_FIELD_channel_capacity,
                                       FIBERPROF_FIELD_channel_receivers,  FIBERPROF_FIELD_channel_closed,
                                       FIBERPROF_FIELD_channel_timers,     FIBERPROF_FIELD_channel_send_rights,
                                       FIBERPROF_FIELD_channel_creator_pc, FIBERPROF_FIELD_channel_receive_rights};
constexpr std::array kContextFields = {FIBERPROF_FIELD_context_parent, FIBERPROF_FIELD_context_scope,
                                       FIBERPROF_FIELD_context_deadline, FIBERPROF_FIELD_context_sources};
constexpr std::array kWaitGroupFields = {FIBERPROF_FIELD_wait_group_tokens};
constexpr std::array kSemaphoreFields = {FIBERPROF_FIELD_semaphore_most};
constexpr std::array kBarrierFields = {FIBERPROF_FIELD_barrier_parties};

std::span<const Field> own_fields(uint32_t kind) {
  switch (kind) {
    case FIBERPROF_OBJECT_CHANNEL:
      return kChannelFields;
    case FIBERPROF_OBJECT_CONTEXT:
      return kContextFields;
    case FIBERPROF_OBJECT_WAIT_GROUP:
      return kWaitGroupFields;
    case FIBERPROF_OBJECT_SEMAPHORE:
      return kSemaphoreFields;
    case FIBERPROF_OBJECT_BARRIER:
      return kBarrierFields;
    default:
      return {};
  }
}

}  // namespace

uint32_t object_kind_of(uint32_t reason) {
  switch (reason) {
    case FIBERPROF_REASON_CHAN_SEND:
    case FIBERPROF_REASON_CHAN_RECV:
      return FIBERPROF_OBJECT_CHANNEL;
    case FIBERPROF_REASON_MUTEX:
      return FIBERPROF_OBJECT_MUTEX;
    case FIBERPROF_REASON_RWLOCK_READ:
    case FIBERPROF_REASON_RWLOCK_WRITE:
      return FIBERPROF_OBJECT_RWLOCK;
    case FIBERPROF_REASON_CONDITION:
      return FIBERPROF_OBJECT_CONDITION;
    case FIBERPROF_REASON_WAIT_GROUP:
      return FIBERPROF_OBJECT_WAIT_GROUP;
    case FIBERPROF_REASON_ONCE:
      return FIBERPROF_OBJECT_ONCE;
    case FIBERPROF_REASON_SEMAPHORE:
      return FIBERPROF_OBJECT_SEMAPHORE;
    case FIBERPROF_REASON_BARRIER:
      return FIBERPROF_OBJECT_BARRIER;
    case FIBERPROF_REASON_CONTEXT:
      return FIBERPROF_OBJECT_CONTEXT;
    default:
      return 0;
  }
}

const char* object_kind_text(uint32_t kind) {
  switch (kind) {
#define FIBERPROF_ROW(value, name, text) \
  case value:                            \
    return text;
    FIBERPROF_OBJECTS(FIBERPROF_ROW)
#undef FIBERPROF_ROW
    default:
      return "object";
  }
}

size_t ObjectReader::extent(uint32_t kind) const {
  size_t end = 0;
  const auto add = [&](std::span<const Field> fields) {
    for (const Field field : fields) {
      const auto [offset, size] = view_.layout().where(field);
      end = std::max<size_t>(end, size_t{offset} + size);
    }
  };
  add(kObjectFields);
  add(own_fields(kind));
  return end;
}

std::string ObjectReader::text(uint64_t address) {
  constexpr size_t kMost = 256, kPage = 4096;
  std::string text;
  while (address != 0 && text.size() < kMost) {
    // Never across a page at once: the next one may not be there.
    std::array<char, 64> bytes;
    const size_t size = std::min<size_t>(bytes.size(), kPage - address % kPage);
    if (view_.memory().read(address, {bytes.data(), size}) != ReadStatus::ok) return {};
    const char* begin = bytes.data();
    const char* end = std::find(begin, begin + size, 0);
    text.append(begin, end);
    if (end != begin + size) return text;
    address += size;
  }
  return text;
}

std::optional<ObjectInfo> ObjectReader::read(uint64_t address, uint32_t kind) {
  const RegistryLayout& layout = view_.layout();
  if (address == 0 || !layout.has(FIBERPROF_FIELD_object_kind)) return {};
  if (kind == 0) {
    std::vector<char> head(extent(0));
    if (view_.memory().read(address, head) != ReadStatus::ok) return {};
    kind = static_cast<uint32_t>(layout.number(head.data(), FIBERPROF_FIELD_object_kind));
    if (kind == 0 || kind >= FIBERPROF_OBJECT_KIND_END) return {};
  }
  std::vector<char> bytes(extent(kind));
  if (view_.memory().read(address, bytes) != ReadStatus::ok) return {};
  const auto number = [&](Field field) { return layout.number(bytes.data(), field); };
  const auto small = [&](Field field) { return static_cast<uint32_t>(number(field)); };
  const auto integer = [&](Field field) { return static_cast<int64_t>(number(field)); };
  ObjectInfo info;
  info.address = address;
  info.kind = small(FIBERPROF_FIELD_object_kind);
  if (info.kind != kind) return {};
  info.lock = small(FIBERPROF_FIELD_object_lock);
  info.owner = number(FIBERPROF_FIELD_object_owner);
  info.waiters = number(FIBERPROF_FIELD_object_waiters);
  info.count = integer(FIBERPROF_FIELD_object_count);
  info.name = text(number(FIBERPROF_FIELD_object_name));
  switch (kind) {
    case FIBERPROF_OBJECT_CHANNEL:
      info.length = number(FIBERPROF_FIELD_channel_length);
      info.capacity = number(FIBERPROF_FIELD_channel_capacity);
      info.receivers = number(FIBERPROF_FIELD_channel_receivers);
      info.creator_pc = number(FIBERPROF_FIELD_channel_creator_pc);
      info.closed = number(FIBERPROF_FIELD_channel_closed) != 0;
      info.timers = small(FIBERPROF_FIELD_channel_timers);
      info.send_rights = small(FIBERPROF_FIELD_channel_send_rights);
      info.receive_rights = small(FIBERPROF_FIELD_channel_receive_rights);
      break;
    case FIBERPROF_OBJECT_CONTEXT:
      info.parent = number(FIBERPROF_FIELD_context_parent);
      info.scope = number(FIBERPROF_FIELD_context_scope);
      info.deadline_ns = integer(FIBERPROF_FIELD_context_deadline);
      info.sources = small(FIBERPROF_FIELD_context_sources);
      break;
    case FIBERPROF_OBJECT_WAIT_GROUP:
      info.tokens = integer(FIBERPROF_FIELD_wait_group_tokens);
      break;
    case FIBERPROF_OBJECT_SEMAPHORE:
      info.most = integer(FIBERPROF_FIELD_semaphore_most);
      break;
    case FIBERPROF_OBJECT_BARRIER:
      info.parties = integer(FIBERPROF_FIELD_barrier_parties);
      break;
    default:
      break;
  }
  return info;
}

std::vector<WaiterInfo> ObjectReader::waiters(uint64_t first, size_t limit, bool* complete) {
  const RegistryLayout& layout = view_.layout();
  size_t size = 0;
  for (const Field field : {FIBERPROF_FIELD_waiter_fiber, FIBERPROF_FIELD_waiter_thread, FIBERPROF_FIELD_waiter_next})
    size = std::max<size_t>(size, size_t{layout.where(field).offset} + layout.where(field).size);
  std::vector<WaiterInfo> queue;
  std::vector<char> bytes(size);
  std::unordered_set<uint64_t> seen;
  uint64_t address = layout.has(FIBERPROF_FIELD_waiter_next) ? first : 0;
  for (; address != 0 && queue.size() < limit && seen.insert(address).second;) {
    if (view_.memory().read(address, bytes) != ReadStatus::ok) break;
    queue.push_back({address, layout.number(bytes.data(), FIBERPROF_FIELD_waiter_fiber),
                     layout.number(bytes.data(), FIBERPROF_FIELD_waiter_thread)});
    address = layout.number(bytes.data(), FIBERPROF_FIELD_waiter_next);
  }
  if (complete != nullptr) *complete = address == 0;
  return queue;
}

}  // namespace fiberprof
