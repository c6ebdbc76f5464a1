// SPDX-License-Identifier: BSD-2-Clause
#include "net/poller.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cerrno>
#include <mutex>

#include "sched/clock.h"
#include "sched/this_worker.h"

namespace fiber::detail {

namespace {

constexpr std::uint32_t kReady = 0, kClosed = 1;  // outcomes of a claim

// epoll_pwait2 (Linux 5.11) takes nanoseconds; without it a timer would be late by up to a millisecond.
int epoll_wait_ns(int epoll_fd, epoll_event* events, int capacity, std::uint64_t timeout_ns, bool& have_pwait2) {
  if (have_pwait2) {
    timespec timeout{static_cast<time_t>(timeout_ns / 1'000'000'000u), static_cast<long>(timeout_ns % 1'000'000'000u)};
    const long count = syscall(SYS_epoll_pwait2, epoll_fd, events, capacity, &timeout, nullptr, std::size_t{0});
    if (count >= 0 || errno != ENOSYS) return static_cast<int>(count);
    have_pwait2 = false;
  }
  const std::uint64_t milliseconds = (timeout_ns + 999'999) / 1'000'000;
  return epoll_wait(epoll_fd, events, capacity, milliseconds > 60'000 ? 60'000 : static_cast<int>(milliseconds));
}

}  // namespace

bool Poller::open() {
  if (epoll_fd_ >= 0) return true;
  epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_fd_ < 0) return false;
  event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event_fd_ < 0) return false;
  events_.resize(kMaxEvents);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  return epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, event_fd_, &event) == 0;
}

PollHandle* Poller::add(int fd) {
  PollHandle* handle;
  {
    std::lock_guard guard(free_lock_);
    handle = free_;
    if (handle != nullptr) free_ = handle->next_free;
  }
  if (handle == nullptr) handle = new PollHandle;
  {
    std::lock_guard guard(handle->lock);
    handle->fd = fd;
    handle->closed = false;
    // A new socket may be ready without an edge to come.
    handle->set_ready(kRead);
    handle->set_ready(kWrite);
    handle->ends_early.store(false, std::memory_order_relaxed);
  }
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;
  event.data.ptr = handle;
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    const int error = errno;
    std::lock_guard guard(free_lock_);
    handle->next_free = free_;
    free_ = handle;
    errno = error;
    return nullptr;
  }
  return handle;
}

void Poller::close(PollHandle* handle) {
  {
    std::lock_guard guard(handle->lock);
    handle->closed = true;
    for (Claim*& waiter : handle->waiter) {
      if (waiter != nullptr) claim(*std::exchange(waiter, nullptr), kClosed);
    }
    ::close(handle->fd);  // leaves epoll by itself
    handle->fd = -1;
  }
  std::lock_guard guard(free_lock_);
  handle->next_free = free_;
  free_ = handle;
}

int Poller::wait(PollHandle* handle, Direction direction, Reason reason, Deadline deadline) {
  Claim wait(this_fiber());
  int fd;
  {
    std::lock_guard guard(handle->lock);
    if (handle->closed) return -ECANCELED;
    if (handle->take_ready(direction)) return 0;
    if (handle->waiter[direction] != nullptr) return -EBUSY;
    handle->waiter[direction] = &wait;
    fd = handle->fd;
  }
  waiters_.fetch_add(1, std::memory_order_relaxed);
  const std::uint32_t outcome = park_claimed(reason, static_cast<std::uint64_t>(fd), wait, deadline);
  waiters_.fetch_sub(1, std::memory_order_relaxed);
  {
    // Also waits for a waker that is still inside its claim, which lives on this stack.
    std::lock_guard guard(handle->lock);
    if (handle->waiter[direction] == &wait) handle->waiter[direction] = nullptr;
  }
  if (outcome == kTimedOut) return -ETIMEDOUT;
  return outcome == kClosed ? -ECANCELED : 0;
}

int Poller::wait_events(std::uint64_t timeout_ns) {
  static bool have_pwait2 = true;
  const int count = epoll_wait_ns(epoll_fd_, events_.data(), kMaxEvents, timeout_ns, have_pwait2);
  return count < 0 ? 0 : count;
}

void Poller::dispatch(int count) {
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events_[static_cast<std::size_t>(i)];
    auto* handle = static_cast<PollHandle*>(event.data.ptr);
    if (handle == nullptr) {
      std::uint64_t value;
      [[maybe_unused]] const ssize_t ignored = read(event_fd_, &value, sizeof(value));
      interrupted_.store(false, std::memory_order_release);
      continue;
    }
    on_events(handle, event.events);
  }
}

void Poller::on_events(PollHandle* handle, std::uint32_t events) {
  auto wake = [handle](Direction direction) {
    Claim* waiter = std::exchange(handle->waiter[direction], nullptr);
    if (waiter == nullptr || !claim(*waiter, kReady)) handle->set_ready(direction);
  };
  std::lock_guard guard(handle->lock);
  if (events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) handle->ends_early.store(true, std::memory_order_release);
  if (events & (EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) wake(kRead);
  if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) wake(kWrite);
}

void Poller::interrupt() {
  if (interrupted_.exchange(true, std::memory_order_acq_rel)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t ignored = write(event_fd_, &one, sizeof(one));
}

}  // namespace fiber::detail
