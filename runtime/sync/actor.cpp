// SPDX-License-Identifier: BSD-2-Clause
#include "sync/actor.h"

#include <sys/syscall.h>
#include <unistd.h>
#include <cstdio>
#include <iterator>

#include "registry/registry.h"
#include "sched/scheduler.h"

namespace fiber::detail {

std::uint64_t this_thread_id() {
  static thread_local std::uint64_t id = 0;
  if (id == 0) id = FIBERPROF_OWNER_THREAD | static_cast<std::uint64_t>(syscall(SYS_gettid));
  return id;
}

Text describe_actor(std::uint64_t id) {
  Text out{};
  const auto number = static_cast<unsigned long long>(id & ~FIBERPROF_OWNER_THREAD);
  if (id == 0) {
    std::snprintf(out.text.data(), out.text.size(), "nobody");
  } else if ((id & FIBERPROF_OWNER_THREAD) != 0) {
    std::snprintf(out.text.data(), out.text.size(), "thread %llu", number);
  } else {
    char name[FIBERPROF_NAME_SIZE] = "";
    registry_for_each([&](const Fiber* fiber) {
      if (fiber->record.id != id) return;
      for (std::size_t i = 0; i + 1 < sizeof(name); ++i)
        name[i] = __atomic_load_n(&fiber->record.name[i], __ATOMIC_RELAXED);
    });
    const char* quote = name[0] == 0 ? "" : "\"";
    std::snprintf(out.text.data(), out.text.size(), "fiber %llu%s%s%s%s", number, name[0] == 0 ? "" : " ", quote, name,
                  quote);
  }
  return out;
}

Text describe(const Object& object) {
  static constexpr const char* kinds[] = {"object",
#define FIBER_OBJECT_TEXT(value, name, text) text,
                                          FIBERPROF_OBJECTS(FIBER_OBJECT_TEXT)
#undef FIBER_OBJECT_TEXT
  };
  Text out{};
  const char* kind = kinds[static_cast<std::size_t>(object.kind) % std::size(kinds)];
  const auto* address = static_cast<const void*>(&object);
  if (object.name == nullptr) {
    std::snprintf(out.text.data(), out.text.size(), "%s %p", kind, address);
  } else {
    std::snprintf(out.text.data(), out.text.size(), "%s %p \"%s\"", kind, address, object.name);
  }
  return out;
}

void waits_for_itself(const Object& object, const char* how) {
  if (Scheduler::instance().options().self_lock_check) fatal("%s %s", describe(object).c_str(), how);
}

void bad_count(const Object& object, const char* what, std::int64_t count) {
  fatal("%s %s %lld", describe(object).c_str(), what, static_cast<long long>(count));
}

}  // namespace fiber::detail
