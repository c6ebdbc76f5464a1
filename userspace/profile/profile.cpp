// SPDX-License-Identifier: BSD-2-Clause
#include "profile/profile.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "profile/gzip.h"
#include "profile/pprof_format.h"
#include "support/unique_fd.h"

namespace fiberprof {
namespace {

// A ten-minute recording of a busy server is below 1 MiB packed; a file of these sizes is not a recording.
constexpr size_t kMaxPacked = 256U << 20;
constexpr size_t kMaxUnpacked = 512U << 20;

Result<std::string> slurp(int fd) {
  std::string data;
  std::array<char, 1 << 16> step;
  for (;;) {
    const ssize_t got = ::read(fd, step.data(), step.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail("", std::strerror(errno));
    if (got == 0) return data;
    data.append(step.data(), static_cast<size_t>(got));
    if (data.size() > kMaxPacked) return fail("", "larger than 256 MiB");
  }
}

bool write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t wrote = ::write(fd, data.data(), data.size());
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return false;
    data.remove_prefix(static_cast<size_t>(wrote));
  }
  return true;
}

bool close(UniqueFd file) { return ::close(file.release()) == 0; }  // errors of a delayed write surface here

}  // namespace

std::string_view cause_name(CauseKind kind) {
  switch (kind) {
    case CauseKind::woken:
      return "woken";
    case CauseKind::waited:
      return "waited";
    case CauseKind::queued:
      return "queued";
    case CauseKind::held:
      return "held";
    case CauseKind::cut:
      return "cut";
  }
  return "cut";
}

Result<Profile> read_profile(const std::string& path) {
  const std::string what = "cannot read recording " + path;
  const UniqueFd file(path == "-" ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) {
    const int error = errno;
    return fail(what, std::strerror(error), error == ENOENT ? "make one with: fiberprof record PID -o FILE.pb.gz" : "");
  }
  const char* not_ours = "give a file written by fiberprof record";
  const Result<std::string> packed = slurp(file.get());
  if (!packed) return fail(what, packed.error().why);
  const Result<std::string> plain = gunzip(*packed, kMaxUnpacked);
  if (!plain) return fail(what, plain.error().why, not_ours);
  Result<Profile> profile = pprof::decode(*plain);
  if (!profile) return fail(what, profile.error().why, profile.error().hint.empty() ? not_ours : profile.error().hint);
  return profile;
}

Result<void> write_profile(const Profile& profile, const std::string& path) {
  return write_file(gzip(pprof::encode(profile)), path);
}

Result<void> write_file(std::string_view data, const std::string& path) {
  const std::string what = "cannot write " + path;
  const auto failed = [&] { return fail(what, std::strerror(errno), "choose another place with -o"); };
  struct stat status {};
  // Pipes and devices are written in place: a rename would replace them.
  const bool in_place = path == "-" || (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode));
  if (in_place) {
    UniqueFd file(path == "-" ? ::dup(STDOUT_FILENO) : ::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file || !write_all(file.get(), data) || !close(std::move(file))) return failed();
    return {};
  }
  std::string temporary = path + ".XXXXXX";
  UniqueFd file(::mkostemp(temporary.data(), O_CLOEXEC));
  if (!file) return failed();
  const mode_t mask = ::umask(0);
  ::umask(mask);
  const bool done = write_all(file.get(), data) && ::fchmod(file.get(), 0666 & ~mask) == 0 && close(std::move(file)) &&
                    ::rename(temporary.c_str(), path.c_str()) == 0;
  if (done) return {};
  const int error = errno;
  ::unlink(temporary.c_str());
  errno = error;
  return failed();
}

}  // namespace fiberprof
