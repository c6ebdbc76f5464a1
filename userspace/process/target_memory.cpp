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

  ReadStatus read_many(std::span<const uint64_t> addresses, size_t size, char* out, bool* ok) override {
    std::fill_n(ok, addresses.size(), false);
    std::vector<iovec> remote;
    for (size_t begin = 0; begin < addresses.size();) {
      const size_t count = std::min<size_t>(addresses.size() - begin, IOV_MAX);
      remote.clear();
      for (size_t i = 0; i < count; ++i) remote.push_back({foreign(addresses[begin + i]), size});
      iovec local{out + begin * size, count * size};
      const ssize_t got = process_vm_readv(pid_, &local, 1, remote.data(), count, 0);
      const ReadStatus status = got < 0 ? status_of(errno) : ReadStatus::ok;
      if (status == ReadStatus::gone || status == ReadStatus::not_permitted) return status;
      // The call stops at the first address that faults; go on behind it.
      const size_t whole = got > 0 ? static_cast<size_t>(got) / size : 0;
      std::fill_n(ok + begin, whole, true);
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
  for (size_t i = 0; i < addresses.size(); ++i) {
    const ReadStatus status = read(addresses[i], {out + i * size, size});
    if (status == ReadStatus::gone || status == ReadStatus::not_permitted) return status;
    ok[i] = status == ReadStatus::ok;
  }
  return ReadStatus::ok;
}

std::unique_ptr<TargetMemory> live_memory(uint32_t pid) { return std::make_unique<LiveMemory>(pid); }

}  // namespace fiberprof
