// SPDX-License-Identifier: BSD-2-Clause
// Core files of programs that were running, written by the kernel or by gdb's gcore.
#pragma once

#include <gtest/gtest.h>

#include <fcntl.h>
#include <fiberprof/registry.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "process/core_file.h"
#include "process/registry_view.h"
#include "process/target.h"
#include "support/command.h"

namespace fiberprof::test {

// Why the kernel leaves no core files where a test finds them; empty: it does.
inline std::string no_core_files() {
  std::ifstream file("/proc/sys/kernel/core_pattern");
  std::string pattern;
  std::getline(file, pattern);
  if (!pattern.empty() && pattern[0] != '|' && pattern.find('/') == std::string::npos) return {};
  return "the kernel does not leave core files in the working directory: core_pattern is " + pattern;
}

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string path = testing::TempDir() + "/fiberprof.XXXXXX";
    path_ = std::filesystem::canonical(mkdtemp(path.data()));
  }
  ~ScratchDirectory() { std::filesystem::remove_all(path_); }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

inline void write(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

inline std::shared_ptr<CoreFile> open_core(const std::string& path, const std::string& executable = {}) {
  auto core = CoreFile::open(path, executable);
  EXPECT_TRUE(core) << core.error().message();
  return core ? *core : nullptr;
}

// A program in a directory of its own, where it may dump core; killed and reaped at the end of the scope.
class Dumpable {
 public:
  explicit Dumpable(std::vector<std::string> command) {
    int running[2];  // closed by exec: until then the child is this very program
    if (pipe2(running, O_CLOEXEC) != 0) std::abort();
    pid_ = fork();
    if (pid_ == 0) {
      const rlimit all{RLIM_INFINITY, RLIM_INFINITY};
      setrlimit(RLIMIT_CORE, &all);
      std::vector<char*> raw;
      for (std::string& word : command) raw.push_back(word.data());
      raw.push_back(nullptr);
      if (chdir(directory_.path().c_str()) == 0) execv(raw[0], raw.data());
      _exit(127);
    }
    close(running[1]);
    char none;
    while (read(running[0], &none, 1) < 0 && errno == EINTR) {
    }
    close(running[0]);
  }
  ~Dumpable() {
    if (pid_ > 0) end(SIGKILL);
  }
  Dumpable(const Dumpable&) = delete;
  Dumpable& operator=(const Dumpable&) = delete;

  uint32_t pid() const { return static_cast<uint32_t>(pid_); }
  const std::string& directory() const { return directory_.path(); }

  // Looks at its fibers until `ready` says so of them; false when it ended before.
  bool wait_for(const std::function<bool(const std::vector<FiberInfo>&)>& ready) const {
    while (waitpid(pid_, nullptr, WNOHANG) == 0) {
      FiberFinder finder;
      const auto process = finder.find(pid());
      const auto view =
          process ? RegistryView::open(pid(), process->registry_address) : tl::unexpected<Error>(process.error());
      std::vector<FiberInfo> fibers;
      if (view && (*view)->fibers([&](const FiberInfo& fiber) { fibers.push_back(fiber); }, 1'000'000) && ready(fibers))
        return true;
    }
    return false;
  }
  bool wait_for_parked(const std::string& name) const {
    return wait_for([&](const std::vector<FiberInfo>& fibers) {
      for (const FiberInfo& fiber : fibers)
        if (fiber.name == name && fiber.state == FIBERPROF_FIBER_PARKED) return true;
      return false;
    });
  }

  // Lets the kernel write a core; its path, empty when there is none. The process is gone.
  std::string abort() {
    if (!WCOREDUMP(end(SIGABRT))) return {};
    for (const auto& file : std::filesystem::directory_iterator(directory_.path()))
      if (file.path().filename().string().starts_with("core")) return file.path();
    return {};
  }
  // The same by gdb, and the process goes on.
  std::string gcore() const {
    const CommandResult result =
        run_command("gcore -o " + (directory_ / "gcore") + " " + std::to_string(pid_) + " < /dev/null");
    EXPECT_EQ(result.status, 0) << result.output;
    return directory_ / ("gcore." + std::to_string(pid_));
  }

 private:
  int end(int signal) {
    int status = 0;
    kill(pid_, signal);
    waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }
  pid_t pid_ = -1;
  ScratchDirectory directory_;
};

}  // namespace fiberprof::test
