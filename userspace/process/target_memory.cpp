// SPDX-License-Identifier: BSD-2-Clause
#include "process/target_memory.h"

#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <vector>

#include "process/target.h"
#include "support/text.h"

namespace fiberprof {
namespace {

ReadStatus status_of(int error) {
  return error == ESRCH ? ReadStatus::gone : error == EPERM ? ReadStatus::not_permitted : ReadStatus::fault;
}

// An address of another process, in the type that the system call wants; never dereferenced here.
void* foreign(uint64_t address) {
  return reinterpret_cast<void*>(address);  // NOLINT(performance-no-int-to-ptr)
}

class LiveMemory final : public TargetMemory {
 public:
  explicit LiveMemory(uint32_t pid) : pid_(static_cast<pid_t>(pid)) {}

  ReadStatus read(uint64_t address, std::span<char> out) override {
    size_t done = 0;
    while (done < out.size()) {
      iovec local{out.data() + done, out.size() - done};
      iovec remote{foreign(address + done), out.size() - done};
      const ssize_t got = process_vm_readv(pid_, &local, 1, &remote, 1, 0);
      if (got < 0) return status_of(errno);
      if (got == 0) return ReadStatus::fault;
      done += static_cast<size_t>(got);
    }
    return ReadStatus::ok;
  }

  ReadStatus read_ranges(std::span<MemoryRange> ranges) override {
    std::vector<iovec> local, remote;
    for (size_t begin = 0; begin < ranges.size();) {
      const size_t count = std::min<size_t>(ranges.size() - begin, IOV_MAX);
      local.clear();
      remote.clear();
      for (MemoryRange& range : ranges.subspan(begin, count)) {
        range.ok = false;
        local.push_back({range.out, range.size});
        remote.push_back({foreign(range.address), range.size});
      }
      const ssize_t got = process_vm_readv(pid_, local.data(), count, remote.data(), count, 0);
      const ReadStatus status = got < 0 ? status_of(errno) : ReadStatus::ok;
      if (status == ReadStatus::gone || status == ReadStatus::not_permitted) return status;
      // The call stops at the first address that faults; go on behind it.
      size_t whole = 0;
      for (size_t left = got > 0 ? static_cast<size_t>(got) : 0; whole < count; ++whole) {
        MemoryRange& range = ranges[begin + whole];
        if (range.size > left) break;
        left -= range.size;
        range.ok = true;
      }
      begin += whole == count ? count : whole + 1;
    }
    return ReadStatus::ok;
  }

  std::string label() const override {
    return "process " + std::to_string(pid_) + " (" + sanitize(process_name(static_cast<uint32_t>(pid_))) + ")";
  }

 private:
  pid_t pid_;
};

}  // namespace

ReadStatus TargetMemory::read_many(std::span<const uint64_t> addresses, size_t size, char* out, bool* ok) {
  std::vector<MemoryRange> ranges(addresses.size());
  for (size_t i = 0; i < addresses.size(); ++i) ranges[i] = {addresses[i], size, out + i * size, false};
  const ReadStatus status = read_ranges(ranges);
  for (size_t i = 0; i < addresses.size(); ++i) ok[i] = ranges[i].ok;
  return status;
}

ReadStatus TargetMemory::read_ranges(std::span<MemoryRange> ranges) {
  for (MemoryRange& range : ranges) {
    const ReadStatus status = read(range.address, {range.out, range.size});
    range.ok = status == ReadStatus::ok;
    if (status == ReadStatus::gone || status == ReadStatus::not_permitted) return status;
  }
  return ReadStatus::ok;
}

std::unique_ptr<TargetMemory> live_memory(uint32_t pid) { return std::make_unique<LiveMemory>(pid); }

}  // namespace fiberprof
