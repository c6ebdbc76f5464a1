// SPDX-License-Identifier: BSD-2-Clause
#include "session/discovery.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "process/proc.h"
#include "session/stopwatch.h"
#include "support/text.h"

namespace fiberprof {
namespace {

constexpr size_t kMaxImages = 32'768;     // processes that are remembered in case they turn out to be on fibers
constexpr size_t kMaxCodePerImage = 512;  // mappings of each
constexpr size_t kMaxFiles = 1024;
constexpr size_t kMaxEndedForks = 256;
constexpr size_t kMaxWarnings = 1000;
constexpr uint64_t kLookAgainNs = 1'000'000'000;  // a file that is overwritten in place is noticed after this

std::pair<uint64_t, uint64_t> key_of(const Mapping& mapping) { return {mapping.device, mapping.inode}; }

void add_code(std::vector<Mapping>& code, const Mapping& mapping) {
  // What lay there before has been unmapped or mapped over.
  std::erase_if(code, [&](const Mapping& old) { return old.start < mapping.end && mapping.start < old.end; });
  const auto at = std::upper_bound(code.begin(), code.end(), mapping,
                                   [](const Mapping& a, const Mapping& b) { return a.start < b.start; });
  if (code.size() < kMaxCodePerImage) code.insert(at, mapping);
}

std::vector<Mapping> only_code(std::vector<Mapping> maps) {
  std::erase_if(maps, [](const Mapping& mapping) { return !mapping.executable; });
  return maps;
}

}  // namespace

Result<Discovery> Discovery::start() {
  auto events = ProcessEvents::open();
  if (!events) return tl::unexpected(events.error());
  Discovery discovery(std::move(*events));
  discovery.poll_.reset(epoll_create1(EPOLL_CLOEXEC));
  epoll_event interest{};
  interest.events = EPOLLIN;
  if (!discovery.poll_ || epoll_ctl(discovery.poll_.get(), EPOLL_CTL_ADD, discovery.events_.fd(), &interest) != 0)
    return fail("cannot watch for new processes", std::strerror(errno));
  struct stat self {};
  if (stat("/proc/self/exe", &self) == 0) discovery.self_ = {self.st_dev, self.st_ino};
  return discovery;
}

Discovery::Changes Discovery::update() {
  Changes changes;
  if (!std::exchange(scanned_, true)) scan(changes);
  if (const uint64_t now = monotonic_ns(); now - looked_ns_ >= kLookAgainNs) {
    looked_ns_ = now;
    finder_.look_again();
  }
  uint64_t lost = 0;
  events_.read([&](const ProcessEvent& event) {
    if (event.kind == ProcessEvent::Kind::lost)
      lost += event.count;
    else
      handle(event, changes);
  });
  for (const uint32_t pid : std::exchange(forks_, {})) {
    const auto image = images_.find(pid);
    if (image == images_.end() || !image->second.parent || running_.count(pid) != 0) continue;
    const std::shared_ptr<Program> parent = image->second.parent;
    FiberProcess process = parent->process;
    process.pid = pid;
    begin(pid, std::move(process), parent->code, changes);
  }
  if (lost != 0) {
    warn("lost", "processes came and went faster than they could be followed; those that still run are found again");
    scan(changes);
  }
  for (const uint32_t pid : std::exchange(changed_, {}))
    if (const auto program = running_.find(pid); program != running_.end()) give_symbols(*program->second);
  reap(changes);
  return changes;
}

void Discovery::reap(Changes& changes) {
  for (const uint32_t pid : std::exchange(without_handle_, {})) end(pid, changes);
  epoll_event ready[64];
  for (;;) {
    const int count = epoll_wait(poll_.get(), ready, std::size(ready), 0);
    bool any = false;
    for (int i = 0; i < count; ++i) {
      const auto pid = static_cast<uint32_t>(ready[i].data.u64);
      any |= pid != 0;
      if (pid != 0) end(pid, changes);  // closes its pidfd
    }
    if (!any) return;
  }
}

void Discovery::handle(const ProcessEvent& event, Changes& changes) {
  const uint32_t pid = event.pid;
  switch (event.kind) {
    case ProcessEvent::Kind::mapped:
      mapped(event, changes);
      break;
    case ProcessEvent::Kind::exec:
      // A process found by the scan may be the new program already: the event is older than what is known then.
      if (const auto known = running_.find(pid); known != running_.end() && known->second->since_ns < event.time_ns)
        end(pid, changes);
      images_[pid] = {event.name, {}, nullptr};
      break;
    case ProcessEvent::Kind::forked: {
      if (images_.size() >= kMaxImages) break;
      Image image;
      if (const auto parent = running_.find(event.parent); parent != running_.end()) {
        image.parent = parent->second;
      } else if (const auto other = images_.find(event.parent); other != images_.end()) {
        image = other->second;
      }
      images_[pid] = std::move(image);
      break;
    }
    case ProcessEvent::Kind::ended:
      // What it was is needed a little longer when waits of it are found only now.
      if (const auto image = images_.find(pid); image == images_.end()) {
        break;
      } else if (image->second.parent) {
        ended_forks_.push_back(pid);
      } else {
        images_.erase(image);
      }
      while (ended_forks_.size() > kMaxEndedForks) {
        images_.erase(ended_forks_.front());
        ended_forks_.pop_front();
      }
      break;
    case ProcessEvent::Kind::lost:
      break;
  }
}

void Discovery::mapped(const ProcessEvent& event, Changes& changes) {
  const uint32_t pid = event.pid;
  const Mapping& mapping = event.mapping;
  const auto known = running_.find(pid);
  if (known != running_.end()) {
    Program& program = *known->second;
    if (std::any_of(program.code.begin(), program.code.end(), [&](const Mapping& old) {
          return old.start == mapping.start && key_of(old) == key_of(mapping) && old.offset == mapping.offset;
        }))
      return;
    keep_file(pid, mapping);
    add_code(program.code, mapping);
    changed_.insert(pid);
  }
  const auto image = images_.find(pid);
  if (image != images_.end() || images_.size() < kMaxImages) add_code(images_[pid].code, mapping);
  if (!mapping.is_file() || key_of(mapping) == self_) return;
  const auto found = finder_.has_probes(pid, mapping);
  if (!found) {
    // Of a library that a program with a known runtime maps nothing is missed but names.
    if (known == running_.end()) warn_of(pid, mapping, found.error());
    return;
  }
  if (!*found) return;
  if (known != running_.end() && known->second->process.registry_address != 0) return;  // another copy of the runtime
  // As the process has it now, if it still lives; else what the events have told.
  std::vector<Mapping> code;
  if (auto maps = read_maps(pid))
    code = only_code(std::move(*maps));
  else
    code = images_[pid].code;
  if (std::none_of(code.begin(), code.end(), [&](const Mapping& each) { return key_of(each) == key_of(mapping); })) {
    code = images_[pid].code;  // it has replaced itself meanwhile
  }
  auto process = finder_.find_in(pid, code);
  if (!process) {
    warn_of(pid, mapping, process.error());
    return;
  }
  if (process->name.empty()) process->name = images_[pid].name;
  if (known != running_.end()) {
    if (process->registry_address == 0) return;  // no better than the probes that are known
    end(pid, changes);
  }
  begin(pid, std::move(*process), std::move(code), changes);
}

void Discovery::begin(uint32_t pid, FiberProcess process, std::vector<Mapping> code, Changes& changes) {
  auto program = std::make_shared<Program>();
  program->process = std::move(process);
  program->serial = ++serials_;
  program->since_ns = monotonic_ns();
  program->code = std::move(code);
  if (auto handle = ProcessHandle::open(pid)) {
    epoll_event interest{};
    interest.events = EPOLLIN;
    interest.data.u64 = pid;
    epoll_ctl(poll_.get(), EPOLL_CTL_ADD, handle->fd(), &interest);
    program->handle = std::move(*handle);
  } else {
    without_handle_.insert(pid);
  }
  for (const Mapping& mapping : program->code) keep_file(pid, mapping);
  give_symbols(*program);
  running_[pid] = program;
  changes.started.push_back(std::move(program));
}

void Discovery::end(uint32_t pid, Changes& changes) {
  const auto known = running_.find(pid);
  if (known == running_.end()) return;
  known->second->ended = true;
  known->second->handle.reset();
  changes.ended.push_back(std::move(known->second));
  running_.erase(known);
}

void Discovery::scan(Changes& changes) {
  size_t unreadable = 0;
  for (FiberProcess& process : finder_.find_all(&unreadable)) {
    const uint32_t pid = process.pid;
    if (const auto known = running_.find(pid); known != running_.end()) {
      const Program& old = *known->second;
      if (old.handle && old.handle->alive() && old.process.binary.inode == process.binary.inode &&
          old.process.load_bias == process.load_bias)
        continue;
      end(pid, changes);
    }
    auto maps = read_maps(pid);
    if (maps) begin(pid, std::move(process), only_code(std::move(*maps)), changes);
  }
  if (unreadable != 0)
    warn("unreadable", std::to_string(unreadable) + " processes could not be looked into; " + permission_hint());
}

void Discovery::give_symbols(Program& program) {
  program.symbols = ProcessSymbols::from(program.process.pid, program.code,
                                         [this](const Mapping& mapping) { return open_file(mapping); });
}

UniqueFd Discovery::open_file(const Mapping& mapping) const {
  const auto file = files_.find(key_of(mapping));
  return file == files_.end() ? UniqueFd() : UniqueFd(fcntl(file->second.get(), F_DUPFD_CLOEXEC, 0));
}

void Discovery::keep_file(uint32_t pid, const Mapping& mapping) {
  if (!mapping.is_file() || files_.size() >= kMaxFiles || files_.count(key_of(mapping)) != 0) return;
  if (auto opened = open_mapped_file(pid, mapping)) files_.emplace(key_of(mapping), std::move(opened->fd));
}

bool Discovery::adopt_fork(uint32_t pid) {
  const auto image = images_.find(pid);
  return running_.count(pid) == 0 && image != images_.end() && image->second.parent && forks_.insert(pid).second;
}

void Discovery::warn(const std::string& key, std::string text) {
  if (warned_.size() < kMaxWarnings && warned_.insert(key).second) warnings_.push_back(std::move(text));
}

void Discovery::warn_of(uint32_t pid, const Mapping& mapping, const Error& error) {
  warn(mapping.path, "cannot tell whether " + mapping.path + ", which process " + std::to_string(pid) +
                         " had mapped, is on fibers: " + (error.why.empty() ? error.what : error.why));
}

std::vector<std::string> Discovery::take_warnings() { return std::exchange(warnings_, {}); }

}  // namespace fiberprof
