// SPDX-License-Identifier: BSD-2-Clause
#include "session/process_events.h"

#include <linux/perf_event.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <optional>
#include <string_view>
#include <utility>

namespace fiberprof {
namespace {

constexpr size_t kDataBytes = 256 << 10;  // a CPU; some 2,000 records

size_t page_size() { return static_cast<size_t>(sysconf(_SC_PAGESIZE)); }

// "0-3,8": the CPUs that are online.
std::vector<int> online_cpus() {
  std::vector<int> cpus;
  std::ifstream file("/sys/devices/system/cpu/online");
  int first = 0;
  while (file >> first) {
    int last = first;
    if (file.peek() == '-') file.ignore() >> last;
    for (int cpu = first; cpu <= last; ++cpu) cpus.push_back(cpu);
    if (file.peek() != ',') break;
    file.ignore();
  }
  return cpus;
}

// The fields of one record, taken off its front.
class Fields {
 public:
  explicit Fields(std::string_view record) : rest_(record) {}
  template <class T>
  T take() {
    T value{};
    if (rest_.size() < sizeof value) return value;
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return value;
  }
  // Up to its zero; padded to 8 bytes in the record.
  std::string text() const { return std::string(rest_.substr(0, rest_.find('\0'))); }

 private:
  std::string_view rest_;
};

// perf_event_open(2) has the layouts. Every record but MMAP2 and COMM begins with the ids; with sample_id_all each ends
// with the time.
std::optional<ProcessEvent> parse(const perf_event_header& header, std::string_view record) {
  ProcessEvent event;
  if (record.size() >= sizeof event.time_ns)
    std::memcpy(&event.time_ns, record.data() + record.size() - sizeof event.time_ns, sizeof event.time_ns);
  Fields fields(record);
  switch (header.type) {
    case PERF_RECORD_LOST:
      fields.take<uint64_t>();
      event.kind = ProcessEvent::Kind::lost;
      event.count = fields.take<uint64_t>();
      return event;
    case PERF_RECORD_COMM:
      if ((header.misc & PERF_RECORD_MISC_COMM_EXEC) == 0) return std::nullopt;
      event.kind = ProcessEvent::Kind::exec;
      event.pid = fields.take<uint32_t>();
      fields.take<uint32_t>();
      event.name = fields.text();
      break;
    case PERF_RECORD_FORK:
    case PERF_RECORD_EXIT: {
      event.kind = header.type == PERF_RECORD_FORK ? ProcessEvent::Kind::forked : ProcessEvent::Kind::ended;
      event.pid = fields.take<uint32_t>();
      event.parent = fields.take<uint32_t>();
      const auto tid = fields.take<uint32_t>();
      if (tid != event.pid) return std::nullopt;  // a thread
      break;
    }
    case PERF_RECORD_MMAP2: {
      if ((header.misc & PERF_RECORD_MISC_CPUMODE_MASK) != PERF_RECORD_MISC_USER) return std::nullopt;
      event.kind = ProcessEvent::Kind::mapped;
      event.pid = fields.take<uint32_t>();
      fields.take<uint32_t>();
      Mapping& mapping = event.mapping;
      mapping.start = fields.take<uint64_t>();
      mapping.end = mapping.start + fields.take<uint64_t>();
      mapping.offset = fields.take<uint64_t>();
      const auto major_number = fields.take<uint32_t>(), minor_number = fields.take<uint32_t>();
      mapping.device = makedev(major_number, minor_number);
      mapping.inode = fields.take<uint64_t>();
      event.generation = fields.take<uint64_t>();
      const auto protection = fields.take<uint32_t>();
      fields.take<uint32_t>();
      mapping.readable = (protection & PROT_READ) != 0;
      mapping.writable = (protection & PROT_WRITE) != 0;
      mapping.executable = (protection & PROT_EXEC) != 0;
      mapping.path = fields.text();
      constexpr std::string_view kDeleted = " (deleted)";
      if (mapping.inode != 0 && mapping.path.ends_with(kDeleted)) {
        mapping.deleted = true;
        mapping.path.resize(mapping.path.size() - kDeleted.size());
      }
      if (!mapping.executable || mapping.end <= mapping.start) return std::nullopt;
      break;
    }
    default:
      return std::nullopt;
  }
  // Not visible from here: 0, or all ones once it has been reaped.
  if (event.pid == 0 || event.pid == ~0u) return std::nullopt;
  return event;
}

}  // namespace

ProcessEvents::Ring::Ring(Ring&& other) noexcept
    : fd(std::move(other.fd)), memory(std::exchange(other.memory, nullptr)) {}

ProcessEvents::Ring& ProcessEvents::Ring::operator=(Ring&& other) noexcept {
  std::swap(fd, other.fd);
  std::swap(memory, other.memory);
  return *this;
}

ProcessEvents::Ring::~Ring() {
  if (memory != nullptr) munmap(memory, page_size() + kDataBytes);
}

Result<ProcessEvents> ProcessEvents::open() {
  const std::string what = "cannot watch for new processes";
  ProcessEvents events;
  events.poll_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!events.poll_) return fail(what, std::strerror(errno));
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_SOFTWARE;
  attributes.config = PERF_COUNT_SW_DUMMY;
  attributes.mmap = 1;
  attributes.mmap2 = 1;
  attributes.comm = 1;
  attributes.comm_exec = 1;
  attributes.task = 1;
  attributes.sample_type = PERF_SAMPLE_TIME;
  attributes.sample_id_all = 1;
  attributes.use_clockid = 1;
  attributes.clockid = CLOCK_MONOTONIC;
  attributes.watermark = 1;  // wake up at once: a new program shall not run long before it is watched
  attributes.wakeup_watermark = 1;
  for (const int cpu : online_cpus()) {
    Ring ring;
    ring.fd.reset(static_cast<int>(syscall(SYS_perf_event_open, &attributes, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC)));
    if (!ring.fd) {
      if (errno == ENODEV) continue;  // it has just been taken offline
      return fail(what, std::strerror(errno), "run as root or with CAP_PERFMON");
    }
    void* memory = mmap(nullptr, page_size() + kDataBytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd.get(), 0);
    if (memory == MAP_FAILED) return fail(what, std::strerror(errno), "raise ulimit -l");
    ring.memory = memory;
    epoll_event interest{};
    interest.events = EPOLLIN;
    if (epoll_ctl(events.poll_.get(), EPOLL_CTL_ADD, ring.fd.get(), &interest) != 0)
      return fail(what, std::strerror(errno));
    events.rings_.push_back(std::move(ring));
  }
  if (events.rings_.empty()) return fail(what, "no CPU could be watched");
  return events;
}

void ProcessEvents::read_ring(const Ring& ring, std::vector<ProcessEvent>& events) {
  auto* const control = static_cast<perf_event_mmap_page*>(ring.memory);
  const char* const data = static_cast<const char*>(ring.memory) + page_size();
  const uint64_t head = __atomic_load_n(&control->data_head, __ATOMIC_ACQUIRE);
  uint64_t tail = control->data_tail;
  std::string record;
  const auto copy = [&](uint64_t from, size_t size) {
    record.resize(size);
    const size_t at = from % kDataBytes, first = std::min(size, kDataBytes - at);
    std::memcpy(record.data(), data + at, first);
    std::memcpy(record.data() + first, data, size - first);
  };
  while (tail < head) {
    perf_event_header header;
    copy(tail, sizeof header);
    std::memcpy(&header, record.data(), sizeof header);
    if (header.size < sizeof header) break;  // cannot be: the kernel writes it
    copy(tail + sizeof header, header.size - sizeof header);
    if (auto event = parse(header, record)) events.push_back(std::move(*event));
    tail += header.size;
  }
  __atomic_store_n(&control->data_tail, head, __ATOMIC_RELEASE);
}

void ProcessEvents::read(const std::function<void(const ProcessEvent&)>& visit) {
  std::vector<ProcessEvent> events;
  for (const Ring& ring : rings_) read_ring(ring, events);
  // A process may have moved from one CPU to another.
  std::stable_sort(events.begin(), events.end(),
                   [](const ProcessEvent& a, const ProcessEvent& b) { return a.time_ns < b.time_ns; });
  for (const ProcessEvent& event : events) visit(event);
}

}  // namespace fiberprof
