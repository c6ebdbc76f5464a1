// SPDX-License-Identifier: BSD-2-Clause
#include "report/inspector.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <string_view>

#include "context/context.h"
#include "registry/registry.h"
#include "sched/clock.h"

namespace fiber::detail {

namespace {

constexpr int kAttempts = 8;  // at a fiber that goes on while it is looked at
constexpr std::size_t kFrames = 64;
constexpr std::size_t kStacks = 1000;  // of so many fibers: a million would be gigabytes of text
constexpr std::size_t kShown = 100;    // fibers, in one text
constexpr unsigned kArms = 16;         // of a select, in words

[[gnu::format(printf, 1, 2)]] std::string format(const char* text, ...) {
  char buffer[256];
  va_list arguments;
  va_start(arguments, text);
  std::vsnprintf(buffer, sizeof(buffer), text, arguments);
  va_end(arguments);
  return buffer;
}

std::string quoted(const std::string& name) { return name.empty() ? "" : " \"" + name + "\""; }

// False: it is being rewritten.
bool copy_record(const Fiber* fiber, fiberprof_fiber& copy) {
  static_assert(sizeof(fiberprof_fiber) % sizeof(AnyWord) == 0);
  const std::uint32_t sequence = __atomic_load_n(&fiber->record.sequence, __ATOMIC_ACQUIRE);
  const auto* from = reinterpret_cast<const AnyWord*>(&fiber->record);
  auto* to = reinterpret_cast<AnyWord*>(&copy);
  for (std::size_t i = 0; i < sizeof(fiberprof_fiber) / sizeof(AnyWord); ++i) {
    to[i] = __atomic_load_n(from + i, __ATOMIC_RELAXED);
  }
  std::atomic_thread_fence(std::memory_order_acquire);
  copy.name[FIBERPROF_NAME_SIZE - 1] = 0;
  return sequence % 2 == 0 && copy.sequence == sequence &&
         __atomic_load_n(&fiber->record.sequence, __ATOMIC_RELAXED) == sequence;
}

bool has_not_moved(const fiberprof_fiber& before, const fiberprof_fiber& after) {
  return after.sequence == before.sequence && after.switches == before.switches && after.state == before.state &&
         after.resource == before.resource && after.sp == before.sp;
}

// Where every fiber's stack ends.
bool is_entry(const void* address) {
  constexpr std::uintptr_t kBytes = 32;  // of which it has fewer
  return reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(&fiber_entry) < kBytes;
}

// Whether a worker has not switched away from it yet. False also in the moment in which it does.
bool is_on_worker(std::uint64_t id) {
  const std::uint32_t count = __atomic_load_n(&fiberprof_registry.worker_count, __ATOMIC_ACQUIRE);
  const auto* workers =
      reinterpret_cast<const std::uint64_t*>(__atomic_load_n(&fiberprof_registry.workers, __ATOMIC_RELAXED));
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto* worker = reinterpret_cast<const fiberprof_worker*>(workers[i]);
    if (__atomic_load_n(&worker->current_fiber, __ATOMIC_RELAXED) == id) return true;
  }
  return false;
}

const char* state_text(std::uint8_t state) {
  static constexpr const char* texts[] = {
#define FIBER_STATE_TEXT(value, name, text) text,
      FIBERPROF_FIBER_STATES(FIBER_STATE_TEXT)
#undef FIBER_STATE_TEXT
  };
  return state < std::size(texts) ? texts[state] : "?";
}

// The kind of object that is waited for; 0: what is waited for is none.
std::uint32_t kind_of(Reason reason) {
  switch (reason) {
    case Reason::CHAN_SEND:
    case Reason::CHAN_RECV:
      return FIBERPROF_OBJECT_CHANNEL;
    case Reason::MUTEX:
      return FIBERPROF_OBJECT_MUTEX;
    case Reason::RWLOCK_READ:
    case Reason::RWLOCK_WRITE:
      return FIBERPROF_OBJECT_RWLOCK;
    case Reason::CONDITION:
      return FIBERPROF_OBJECT_CONDITION;
    case Reason::WAIT_GROUP:
      return FIBERPROF_OBJECT_WAIT_GROUP;
    case Reason::ONCE:
      return FIBERPROF_OBJECT_ONCE;
    case Reason::SEMAPHORE:
      return FIBERPROF_OBJECT_SEMAPHORE;
    case Reason::BARRIER:
      return FIBERPROF_OBJECT_BARRIER;
    case Reason::CONTEXT:
      return FIBERPROF_OBJECT_CONTEXT;
    default:
      return 0;
  }
}

// A frame between the function that waits and the switch, or between a fiber's first and its own function.
bool is_of_runtime(std::string_view function) {
  // Of a template the return type comes first.
  const std::string_view name = function.substr(0, function.find_first_of("(<+"));
  const std::string_view last = name.substr(name.rfind(' ') == name.npos ? 0 : name.rfind(' ') + 1);
  return last.starts_with("fiber::detail::") || last.starts_with("fiber_") || last == "fiber::go" ||
         last == "fiber::spawn" || last == "fiber::run";
}

const char* kind_text(std::uint32_t kind) {
  switch (kind) {
#define FIBER_KIND_TEXT(value, name, text) \
  case value:                              \
    return text;
    FIBERPROF_OBJECTS(FIBER_KIND_TEXT)
#undef FIBER_KIND_TEXT
    default:
      return "object";
  }
}

}  // namespace

Inspector::Inspector() : memory_(open("/proc/self/mem", O_RDONLY | O_CLOEXEC)) {}

Inspector::~Inspector() {
  if (memory_ >= 0) close(memory_);
}

bool Inspector::read(std::uint64_t address, void* to, std::size_t bytes) const {
  return pread(memory_, to, bytes, static_cast<off_t>(address)) == static_cast<ssize_t>(bytes);
}

std::string Inspector::read_text(std::uint64_t address) const {
  char text[64];
  const ssize_t size = address == 0 ? 0 : pread(memory_, text, sizeof(text), static_cast<off_t>(address));
  return size <= 0 ? "" : std::string(text, strnlen(text, static_cast<std::size_t>(size)));
}

// By the chain of frame records that starts at the saved stack pointer. Nothing if the chain does not end as it should:
// for a moment a fiber counts as parked whose registers are not saved yet.
std::optional<std::vector<CodeLocation>> Inspector::stack(const fiberprof_fiber& record) {
  std::vector<CodeLocation> frames;
  std::uint64_t frame = record.sp;
  while (frames.size() < kFrames && frame != 0) {
    std::uint64_t words[2];
    if (frame < record.stack_low || frame + sizeof(words) > record.stack_high || frame % 8 != 0 ||
        !read(frame, words, sizeof(words)) || (words[0] != 0 && words[0] <= frame)) {
      return std::nullopt;
    }
    frames.push_back({reinterpret_cast<const void*>(words[1]), {}});
    frame = words[0];
  }
  if (frame == 0 && (frames.empty() || !is_entry(frames.back().address))) return std::nullopt;
  return frames;
}

std::string Inspector::fiber_text(std::uint64_t id) {
  if (names_.empty()) {
    registry_for_each([this](const Fiber* fiber) {
      fiberprof_fiber record;
      if (is_alive(fiber) && copy_record(fiber, record)) names_.emplace(record.id, record.name);
    });
  }
  const auto found = names_.find(id);
  const std::string text = "fiber " + std::to_string(id);
  return found == names_.end() ? text + ", which has ended" : text + quoted(found->second);
}

std::string Inspector::owner_text(std::uint64_t owner) {
  if ((owner & FIBERPROF_OWNER_THREAD) != 0) return "thread " + std::to_string(owner & ~FIBERPROF_OWNER_THREAD);
  return fiber_text(owner);
}

std::string Inspector::object(std::uint64_t address, Reason reason) {
  const std::uint32_t kind = kind_of(reason);
  fiberprof_object seen;
  const bool known = read(address, &seen, sizeof(seen)) && seen.kind == kind;
  std::string text = kind_text(kind);
  if (known) text += quoted(read_text(seen.name));
  text += format(" (0x%llx)", static_cast<unsigned long long>(address));
  if (!known) return text;
  const auto count = static_cast<long long>(seen.count);
  if (kind == FIBERPROF_OBJECT_ONCE && seen.owner != 0) text += ", run by " + owner_text(seen.owner);
  if (kind == FIBERPROF_OBJECT_MUTEX && seen.owner != 0) text += ", held by " + owner_text(seen.owner);
  if (kind == FIBERPROF_OBJECT_RWLOCK) {
    if (seen.owner != 0) {
      text += ", held for writing by " + owner_text(seen.owner);
    } else if ((count & 0xffffffff) != 0) {
      text += format(", read by %lld", count & 0xffffffff);
    }
  }
  if (kind == FIBERPROF_OBJECT_WAIT_GROUP) text += format(", %lld not done", count);
  fiberprof_barrier barrier;
  if (kind == FIBERPROF_OBJECT_BARRIER && read(address, &barrier, sizeof(barrier))) {
    text += format(", %lld of %lld have arrived", count, static_cast<long long>(barrier.parties));
  }
  fiberprof_channel channel;
  if (kind == FIBERPROF_OBJECT_CHANNEL && read(address, &channel, sizeof(channel))) {
    text += format(", %llu of %llu buffered", static_cast<unsigned long long>(channel.length),
                   static_cast<unsigned long long>(channel.capacity));
    const void* creator = reinterpret_cast<const void*>(channel.creator_pc);
    if (creator != nullptr) text += ", made at " + symbols_.locate(creator, true).text;
  }
  return text;
}

std::string Inspector::waits_for(const fiberprof_fiber& record) {
  const auto reason = static_cast<Reason>(record.reason);
  if (kind_of(reason) != 0) return object(record.resource, reason);
  switch (reason) {
    case Reason::SELECT: {
      std::string text;
      for (unsigned i = 0; i < std::min<unsigned>(record.arms_len, kArms); ++i) {
        fiberprof_arm arm;
        if (!read(record.arms + i * sizeof(arm), &arm, sizeof(arm))) break;
        const auto operation = static_cast<Reason>(arm.reason);
        text += i == 0 ? "" : "; or ";
        text += operation == Reason::CHAN_SEND ? "to send to " : "to receive from ";
        text += arm.resource == 0 ? "a nil channel" : object(arm.resource, Reason::CHAN_RECV);
      }
      return text + (record.arms_len > kArms ? format("; or %u more", record.arms_len - kArms) : "");
    }
    case Reason::JOIN:
      return "the end of " + fiber_text(record.resource);
    case Reason::IO_READ:
    case Reason::IO_WRITE:
    case Reason::IO_ACCEPT:
    case Reason::IO_CONNECT:
      return "descriptor " + std::to_string(record.resource);
    default:
      return "";
  }
}

std::optional<FiberReport> Inspector::report(const Fiber* fiber, std::uint64_t id) {
  fiberprof_fiber record{}, after{};
  std::vector<CodeLocation> frames;
  std::string waits;
  bool whole = false;
  for (int attempt = 0; attempt < kAttempts && !whole; ++attempt) {
    if (!copy_record(fiber, record)) continue;
    if (record.id != id || !is_alive(fiber)) return std::nullopt;
    frames.clear();
    waits.clear();
    if (record.state == FIBERPROF_FIBER_PARKED || record.state == FIBERPROF_FIBER_RUNNABLE) {
      auto chain = is_on_worker(id) ? std::nullopt : stack(record);
      if (!chain) {
        sched_yield();
        continue;
      }
      frames = std::move(*chain);
    }
    if (record.state == FIBERPROF_FIBER_PARKED) waits = waits_for(record);
    whole = copy_record(fiber, after) && has_not_moved(record, after);
  }
  if (record.id != id) return std::nullopt;
  if (!whole) {  // always on the move
    record.state = FIBERPROF_FIBER_RUNNING;
    frames.clear();
    waits.clear();
  }
  FiberReport report;
  report.id = id;
  report.name = record.name;
  report.state = state_text(record.state);
  if (record.state == FIBERPROF_FIBER_PARKED) {
    report.reason = reason_text(static_cast<Reason>(record.reason));
    report.object = record.resource;
    report.waits_for = std::move(waits);
  }
  const std::uint64_t now = now_ns();
  if (now > record.since) report.since = std::chrono::nanoseconds(now - record.since);
  report.parent = record.parent;
  report.function = symbols_.locate(reinterpret_cast<const void*>(record.entry), false);
  report.spawned_at = symbols_.locate(reinterpret_cast<const void*>(record.creator_pc), true);
  if (++reports_ <= kStacks) {
    for (const CodeLocation& frame : frames) report.stack.push_back(symbols_.locate(frame.address, true));
  }
  return report;
}

}  // namespace fiber::detail

namespace fiber {

std::string to_text(const FiberReport& fiber) {
  const double seconds = std::chrono::duration<double>(fiber.since).count();
  std::string text = "fiber " + std::to_string(fiber.id) + detail::quoted(fiber.name) + " [" +
                     (fiber.reason.empty() ? fiber.state : fiber.reason);
  if (!fiber.waits_for.empty()) text += ": " + fiber.waits_for;
  text += detail::format(", %.1f s]\n", seconds);
  std::size_t first = 0, last = fiber.stack.size();
  while (first < last && detail::is_of_runtime(fiber.stack[first].text)) ++first;
  while (last > first && detail::is_of_runtime(fiber.stack[last - 1].text)) --last;
  for (std::size_t i = first; i < last; ++i) text += "    " + fiber.stack[i].text + "\n";
  if (first == last && fiber.function.address != nullptr) text += "    in " + fiber.function.text + "\n";
  text += "  spawned";
  if (fiber.parent != 0) text += " by fiber " + std::to_string(fiber.parent);
  return text + " at " + fiber.spawned_at.text + "\n";
}

std::string to_text(const std::vector<FiberReport>& fibers) {
  std::string text;
  const std::size_t shown = std::min(fibers.size(), detail::kShown);
  for (std::size_t i = 0; i < shown; ++i) text += (i == 0 ? "" : "\n") + to_text(fibers[i]);
  if (shown < fibers.size()) text += "\n... and " + std::to_string(fibers.size() - shown) + " more\n";
  return text;
}

}  // namespace fiber
