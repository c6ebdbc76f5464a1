// SPDX-License-Identifier: BSD-2-Clause
// Files, each system call in a blocking section (fiber/blocking.h): other fibers go on while a disk takes its time.
//
// Errors are negative errno values. There are no limits: nothing stops a system call on a file.
#pragma once

#include <fcntl.h>
#include <sys/types.h>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fiber/config.h"

namespace fiber {

// An open file. Move-only; closes on destruction. Fibers and other threads may use it, several at a time (those that
// share the position get at it in any order); moving and destroying is not safe while another uses it.
class FIBER_API File {
 public:
  File() = default;
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  // `flags` as of open(2), O_CLOEXEC added. On failure invalid, see error().
  static File open(const std::string& path, int flags = O_RDONLY, mode_t mode = 0666);

  explicit operator bool() const { return fd() >= 0; }
  int fd() const;
  int error() const { return error_; }

  // Up to `size` bytes at the file's position, which moves; 0: the end.
  ssize_t read(void* buffer, std::size_t size);
  // All `size` bytes at the file's position; `size` or a negative error, after which some may have been written.
  ssize_t write(const void* buffer, std::size_t size);
  // The same at `offset`, whatever the position.
  ssize_t pread(void* buffer, std::size_t size, std::int64_t offset);
  ssize_t pwrite(const void* buffer, std::size_t size, std::int64_t offset);
  // Until it is on the disk: fsync(2), or fdatasync(2), which leaves times behind. 0 or a negative error.
  int sync();
  int sync_data();
  std::int64_t size();
  // 0 or a negative error: -EBUSY, and it stays open, while another fiber is in a call; -EBADF when it is not open. An
  // error of the kernel may mean that data written before is lost; it is closed then.
  int close();

 private:
  template <class Call>
  std::int64_t use(Call call);

  int fd_ = -1;
  int error_ = 0;
  std::atomic<std::uint32_t> uses_{0};  // calls in progress; kClosed: none, and there will be none
};

// The whole file; what `content` held is replaced. 0 or a negative error. Also of files whose size is unknown (/proc).
FIBER_API int read_file(const std::string& path, std::string& content);
// Replaces the file's content, or makes the file. Not atomic: a reader, or a crash, may see a part.
FIBER_API int write_file(const std::string& path, std::string_view content, mode_t mode = 0666);

}  // namespace fiber
