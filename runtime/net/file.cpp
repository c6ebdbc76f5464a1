// SPDX-License-Identifier: BSD-2-Clause
#include "fiber/file.h"

#include <sys/stat.h>
#include <unistd.h>
#include <algorithm>
#include <cerrno>
#include <utility>

#include "fiber/blocking.h"
#include "net/operation.h"

namespace fiber {

using namespace detail;

namespace {

constexpr std::uint32_t kNoUse = ~std::uint32_t{0};  // closed

// A system call again as long as signals interrupt it.
template <class Call>
std::int64_t uninterrupted(Call call) {
  std::int64_t result;
  do {
    result = checked(call);
  } while (result == -EINTR);
  return result;
}

// All of the bytes by calls that may write a part: `write_some(bytes, size, done so far)`.
template <class Call>
std::int64_t write_all(const void* buffer, std::size_t size, Call write_some) {
  const auto* bytes = static_cast<const char*>(buffer);
  for (std::size_t done = 0; done < size;) {
    const std::int64_t count = uninterrupted([&] { return write_some(bytes + done, size - done, done); });
    if (count < 0) return count;
    if (count == 0) return -EIO;  // no kernel does that
    done += static_cast<std::size_t>(count);
  }
  return static_cast<std::int64_t>(size);
}

}  // namespace

// A call on the file, whose descriptor nobody closes meanwhile.
template <class Call>
std::int64_t File::use(Call call) {
  std::uint32_t seen = uses_.load(std::memory_order_relaxed);
  do {
    if (fd_ < 0 || seen == kNoUse) return -EBADF;
  } while (!uses_.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire, std::memory_order_relaxed));
  const std::int64_t result = blocking([&] { return call(fd_); });
  uses_.fetch_sub(1, std::memory_order_release);
  return result;
}

File::File(File&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      error_(std::exchange(other.error_, 0)),
      uses_(other.uses_.exchange(0, std::memory_order_relaxed)) {}

File& File::operator=(File&& other) noexcept {
  if (this != &other) {
    close();
    fd_ = std::exchange(other.fd_, -1);
    error_ = std::exchange(other.error_, 0);
    uses_.store(other.uses_.exchange(0, std::memory_order_relaxed), std::memory_order_relaxed);
  }
  return *this;
}

File::~File() {
  if (close() == -EBUSY) fatal("file with descriptor %d destroyed while another fiber uses it", fd_);
}

File File::open(const std::string& path, int flags, mode_t mode) {
  File file;
  if (path.find('\0') != std::string::npos) {
    file.error_ = -EINVAL;
    return file;
  }
  const auto fd =
      blocking([&] { return uninterrupted([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); }); });
  (fd < 0 ? file.error_ : file.fd_) = static_cast<int>(fd);
  return file;
}

int File::fd() const { return uses_.load(std::memory_order_relaxed) == kNoUse ? -1 : fd_; }

ssize_t File::read(void* buffer, std::size_t size) {
  return use([=](int fd) { return uninterrupted([=] { return ::read(fd, buffer, size); }); });
}

ssize_t File::pread(void* buffer, std::size_t size, std::int64_t offset) {
  return use([=](int fd) { return uninterrupted([=] { return ::pread(fd, buffer, size, offset); }); });
}

ssize_t File::write(const void* buffer, std::size_t size) {
  return use([=](int fd) {
    return write_all(buffer, size,
                     [=](const char* from, std::size_t left, std::size_t) { return ::write(fd, from, left); });
  });
}

ssize_t File::pwrite(const void* buffer, std::size_t size, std::int64_t offset) {
  return use([=](int fd) {
    return write_all(buffer, size, [=](const char* from, std::size_t left, std::size_t done) {
      return ::pwrite(fd, from, left, offset + static_cast<std::int64_t>(done));
    });
  });
}

int File::sync() {
  return static_cast<int>(use([](int fd) { return uninterrupted([=] { return ::fsync(fd); }); }));
}

int File::sync_data() {
  return static_cast<int>(use([](int fd) { return uninterrupted([=] { return ::fdatasync(fd); }); }));
}

std::int64_t File::size() {
  return use([](int fd) {
    struct stat status;
    const std::int64_t result = checked([&] { return ::fstat(fd, &status); });
    return result < 0 ? result : static_cast<std::int64_t>(status.st_size);
  });
}

int File::close() {
  if (fd_ < 0) return -EBADF;
  std::uint32_t unused = 0;
  if (!uses_.compare_exchange_strong(unused, kNoUse, std::memory_order_acq_rel)) {
    return unused == kNoUse ? -EBADF : -EBUSY;
  }
  // Not again after EINTR: Linux has freed the number by then.
  const int result = blocking([&] { return checked([&] { return ::close(fd_); }); });
  Operation::poller().descriptor_closed();
  return result == -EINTR ? 0 : result;
}

int read_file(const std::string& path, std::string& content) {
  content.clear();
  File file = File::open(path);
  if (!file) return file.error();
  const std::int64_t expected = std::max<std::int64_t>(file.size(), 0);
  std::size_t filled = 0;
  // One byte more than expected, to meet the end without growing.
  content.resize(std::max<std::size_t>(static_cast<std::size_t>(expected) + 1, 4096));
  for (;;) {
    const ssize_t count = file.read(content.data() + filled, content.size() - filled);
    if (count <= 0) {
      content.resize(count < 0 ? 0 : filled);
      return static_cast<int>(count);
    }
    filled += static_cast<std::size_t>(count);
    if (filled == content.size()) content.resize(content.size() * 2);
  }
}

int write_file(const std::string& path, std::string_view content, mode_t mode) {
  File file = File::open(path, O_WRONLY | O_CREAT | O_TRUNC, mode);
  if (!file) return file.error();
  const ssize_t written = file.write(content.data(), content.size());
  const int closed = file.close();
  return written < 0 ? static_cast<int>(written) : closed;
}

}  // namespace fiber
