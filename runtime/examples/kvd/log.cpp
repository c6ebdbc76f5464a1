// SPDX-License-Identifier: BSD-2-Clause
#include "log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "crc32c.h"
#include "fiber/blocking.h"

namespace kvd {

namespace {

// A group is closed at this size, so that its length fits 32 bits whatever the records are (one is below 1.1 GB).
constexpr std::size_t kGroupLimit = 64u << 20;
constexpr std::size_t kSpareLimit = 4u << 20;
constexpr std::size_t kRequests = 1024;

std::string failure(const std::string& what, const std::string& path) {
  return what + " '" + path + "': " + std::strerror(errno);
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

// A new file's name is durable only when its directory is.
bool sync_directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const File opened(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return opened.get() >= 0 && ::fsync(opened.get()) == 0;
}

bool write_header(int fd, const std::string& path) {
  FileHeader header;
  if (::getrandom(&header.salt, sizeof header.salt, 0) != sizeof header.salt) return false;
  return ::ftruncate(fd, 0) == 0 && write_all(fd, header.encode()) && ::fsync(fd) == 0 && sync_directory_of(path);
}

// Whether the file is empty or holds no more than the beginning of a header: a crash at its creation, before anything
// was acknowledged.
bool is_unborn(int fd, const struct stat& status) {
  if (status.st_size >= static_cast<off_t>(FileHeader::kSize)) return false;
  std::string start(static_cast<std::size_t>(status.st_size), '\0');
  if (::pread(fd, start.data(), start.size(), 0) != status.st_size) return false;
  const std::size_t common = std::min(start.size(), FileHeader::kMagic.size());
  return std::string_view(start).substr(0, common) == FileHeader::kMagic.substr(0, common);
}

}  // namespace

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

std::unique_ptr<Log> Log::open(const std::string& path, Store& store, std::string& error,
                               const std::function<void(const std::string&)>& message) {
  File file(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  struct stat status {};
  if (file.get() < 0 || ::fstat(file.get(), &status) != 0) {
    error = failure("cannot open the log", path);
    return nullptr;
  }
  if (!S_ISREG(status.st_mode)) {
    error = "the log '" + path + "' is not a regular file";
    return nullptr;
  }
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    error = errno == EWOULDBLOCK ? "the log '" + path + "' is in use by another fiber-kvd"
                                 : failure("cannot lock the log", path);
    return nullptr;
  }
  if (is_unborn(file.get(), status) && !write_header(file.get(), path)) {
    error = failure("cannot write the log", path);
    return nullptr;
  }

  const ReplayResult result = replay(file.get(), [&](const Record& record) { apply(record, store); });
  if (!result.error.empty()) {
    error = "the log '" + path + "' " + result.error;
    return nullptr;
  }
  if (result.torn_bytes > 0) {
    if (::ftruncate(file.get(), static_cast<off_t>(result.good_bytes)) != 0 || ::fdatasync(file.get()) != 0) {
      error = failure("cannot cut off the incomplete end of the log", path);
      return nullptr;
    }
    message("the log ended in a write that was never finished nor acknowledged: cut off its last " +
            std::to_string(result.torn_bytes) + " bytes");
  }
  store.remove_expired(wall_clock_ms());
  message("read " + std::to_string(result.records) + " records from the log, have " + std::to_string(store.size()) +
          " keys");

  std::unique_ptr<Log> log(new Log(path, std::move(file), result));
  log->writer_ = fiber::spawn({.name = "log writer"}, [raw = log.get()] { raw->run(); });
  return log;
}

Log::Log(std::string path, File file, const ReplayResult& state)
    : path_(std::move(path)),
      file_(std::move(file)),
      salt_(state.salt),
      bytes_(state.good_bytes),
      groups_(state.groups),
      requests_(kRequests) {}

Log::~Log() = default;

void Log::append(const Record& record) {
  const std::lock_guard lock(mutex_);
  if (pending_.empty() || pending_.back().size() >= kGroupLimit) {
    pending_.push_back(std::exchange(spare_, std::string()));
    pending_.back().assign(GroupHeader::kSize, '\0');
  }
  encode(record, pending_.back());
}

bool Log::commit(Committer& committer) {
  requests_.send(committer.done_.sender());
  return committer.done_.receive().value_or(false);
}

void Log::close() {
  requests_.close();
  if (writer_.joinable()) writer_.join();
}

void Log::run() {
  std::vector<Request> waiting;
  while (auto first = requests_.receive()) {
    waiting.push_back(std::move(*first));
    // Take the requests first and the records after them: whoever asked had appended before.
    while (auto more = requests_.try_receive()) waiting.push_back(std::move(*more));
    const bool done = write_pending();
    for (Request& request : waiting) request.send(done);
    waiting.clear();
  }
  write_pending();
}

bool Log::write_pending() {
  for (std::string& group : take_pending()) {
    if (!failed_ && !fiber::blocking([&] { return write_group(group); })) {
      // After a failed sync nobody knows what is on the disk: trying again could only pretend.
      failed_ = true;
      if (on_failure_) on_failure_(failure("cannot write the log", path_));
    }
    if (group.capacity() <= kSpareLimit) {
      const std::lock_guard lock(mutex_);
      spare_ = std::move(group);
    }
  }
  return !failed_;
}

std::vector<std::string> Log::take_pending() {
  const std::lock_guard lock(mutex_);
  return std::exchange(pending_, {});
}

bool Log::write_group(std::string& group) {
  const std::string_view records = std::string_view(group).substr(GroupHeader::kSize);
  const GroupHeader header{groups(), static_cast<std::uint32_t>(records.size()), crc32c(records)};
  header.encode(salt_, group.data());
  if (!write_all(file_.get(), group) || ::fdatasync(file_.get()) != 0) return false;
  groups_.fetch_add(1, std::memory_order_relaxed);
  bytes_.fetch_add(group.size(), std::memory_order_relaxed);
  return true;
}

}  // namespace kvd
