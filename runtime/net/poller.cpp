// SPDX-License-Identifier: BSD-2-Clause
#include "net/poller.h"

#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cerrno>
#include <mutex>

#include "sched/clock.h"
#include "sched/scheduler.h"

namespace fiber::detail {

namespace {

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

// The address of a handle goes from add() to dispatch() through the kernel, which orders the two; this says so in the
// language's own terms. How many handles have been given to it.
std::atomic<std::uint32_t> handed_to_epoll{0};

}  // namespace

// A forked child that runs the runtime must not read the parent's wake-ups.
void Poller::leave_to_parent() {
  ::close(epoll_fd_.exchange(-1));
  ::close(event_fd_);
  event_fd_ = -1;
  interrupted_.store(false);
}

bool Poller::open() {
  if (epoll_fd_.load(std::memory_order_acquire) >= 0) return true;
  static std::mutex once;  // sockets may be made before the runtime runs, by any thread
  std::lock_guard guard(once);
  if (epoll_fd_.load(std::memory_order_relaxed) >= 0) return true;
  const int events = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (events < 0) return false;
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;
  if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, events, &event) != 0) {
    const int error = errno;
    if (epoll >= 0) ::close(epoll);
    ::close(events);
    errno = error;
    return false;
  }
  events_.resize(kMaxEvents);
  static const bool told_of_forks = [] {
    return pthread_atfork(nullptr, nullptr, [] { Scheduler::instance().poller().leave_to_parent(); }) == 0;
  }();
  static_cast<void>(told_of_forks);
  event_fd_ = events;
  epoll_fd_.store(epoll, std::memory_order_release);
  return true;
}

PollHandle* Poller::add(int fd) {
  if (!open()) return nullptr;
  PollHandle* handle;
  {
    std::lock_guard guard(free_lock_);
    handle = free_;
    if (handle != nullptr) free_ = handle->next_free;
  }
  if (handle == nullptr) {
    handle = new PollHandle;
    std::lock_guard guard(free_lock_);
    handle->next_made = made_;
    made_ = handle;
  }
  {
    std::lock_guard guard(handle->lock);
    handle->fd.store(fd, std::memory_order_relaxed);
    // A new socket may be ready without an edge to come.
    handle->set_ready(kRead);
    handle->set_ready(kWrite);
    handle->ends_early.store(false, std::memory_order_relaxed);
    for (auto& deadline : handle->deadline) deadline.store(Deadline::max(), std::memory_order_relaxed);
    handle->state.store(0, std::memory_order_release);
  }
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;
  event.data.ptr = handle;
  handed_to_epoll.fetch_add(1, std::memory_order_release);
  if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
    const int error = errno;
    recycle(handle);
    errno = error;
    return nullptr;
  }
  return handle;
}

void Poller::recycle(PollHandle* handle) {
  std::lock_guard guard(free_lock_);
  handle->next_free = free_;
  free_ = handle;
}

void Poller::close_descriptor(int fd) {
  ::close(fd);  // leaves epoll by itself
  descriptor_closed();
}

void Poller::close(PollHandle* handle) {
  std::uint32_t left;
  {
    std::lock_guard guard(handle->lock);
    left = handle->state.fetch_or(PollHandle::kClosed, std::memory_order_acq_rel);
    if ((left & PollHandle::kClosed) != 0) return;
    for (const Direction direction : {kRead, kWrite}) {
      Claim* waiter = std::exchange(handle->waiter[direction], nullptr);
      if (waiter == nullptr || !claim(*waiter, kClosed)) continue;
      left = handle->state.fetch_and(~PollHandle::operation(direction), std::memory_order_acq_rel) &
             ~PollHandle::operation(direction);
    }
  }
  if ((left & PollHandle::kOperations) == 0) close_descriptor(handle->fd);
}

void Poller::release(PollHandle* handle) {
  const std::uint32_t left = handle->state.fetch_or(PollHandle::kOwnerless, std::memory_order_acq_rel);
  if ((left & PollHandle::kOperations) == 0) recycle(handle);
}

int Poller::begin(PollHandle* handle, Direction direction) {
  const Worker* worker = this_worker();
  // In a blocking section it cannot be abandoned: it either needs not wait or ends the process.
  const bool by_thread = worker == nullptr || worker->in_blocking;
  const std::uint32_t mine = by_thread ? PollHandle::operation(direction) : PollHandle::busy(direction);
  std::uint32_t seen = handle->state.load(std::memory_order_relaxed);
  do {
    if ((seen & PollHandle::kClosed) != 0) return -ECANCELED;
    if ((seen & PollHandle::busy(direction)) != 0) return -EBUSY;
  } while (
      !handle->state.compare_exchange_weak(seen, seen | mine, std::memory_order_acquire, std::memory_order_relaxed));
  return 0;
}

void Poller::end(PollHandle* handle, Direction direction) {
  const int fd = handle->fd.load(std::memory_order_relaxed);  // the handle may be somebody else's afterwards
  const std::uint32_t left = handle->state.fetch_and(~PollHandle::operation(direction), std::memory_order_acq_rel) &
                             ~PollHandle::operation(direction);
  if ((left & PollHandle::kClosed) == 0 || (left & PollHandle::kOperations) != 0) [[likely]]
    return;
  close_descriptor(fd);
  if ((left & PollHandle::kOwnerless) != 0) recycle(handle);
}

std::uint32_t Poller::wait(PollHandle* handle, Direction direction, Reason reason, const Limit& limit) {
  const int fd = handle->fd.load(std::memory_order_relaxed);
  if (!Scheduler::instance().running()) fatal("%s of socket %d while no runtime runs", reason_text(reason), fd);
  Claim wait(this_fiber());
  bool closed;
  {
    std::lock_guard guard(handle->lock);
    closed = handle->closed();
    if (!closed) {
      if (handle->take_ready(direction)) return kReady;
      handle->waiter[direction] = &wait;
    }
  }
  if (closed) {
    end(handle, direction);
    return kClosed;
  }
  std::atomic<std::uint32_t>& count = wait.fiber == nullptr ? waiting_threads_ : waiting_fibers_;
  count.fetch_add(1, std::memory_order_relaxed);
  const std::uint32_t outcome = park_claimed(reason, static_cast<std::uint64_t>(fd), wait, limit);
  count.fetch_sub(1, std::memory_order_relaxed);
  {
    // Also waits for a waker that is still inside its claim, which lives on this stack.
    std::lock_guard guard(handle->lock);
    if (handle->waiter[direction] == &wait) handle->waiter[direction] = nullptr;
  }
  return outcome;
}

void Poller::end_abandoned() {
  waiting_fibers_.store(0, std::memory_order_relaxed);
  const auto abandoned = [](const PollHandle* handle, Direction direction) {
    return (handle->state.load(std::memory_order_acquire) & PollHandle::operation(direction)) ==
           PollHandle::busy(direction);
  };
  {
    std::lock_guard guard(starved_lock_);
    for (Starved** at = &starved_; *at != nullptr;) {
      if (!abandoned((*at)->handle, kRead)) {
        at = &(*at)->next;
        continue;
      }
      *at = (*at)->next;
      starved_count_.fetch_sub(1, std::memory_order_relaxed);
    }
  }
  PollHandle* handle;
  {
    std::lock_guard guard(free_lock_);
    handle = made_;
  }
  for (; handle != nullptr; handle = handle->next_made) {
    for (const Direction direction : {kRead, kWrite}) {
      if (!abandoned(handle, direction)) continue;
      {
        std::lock_guard guard(handle->lock);
        handle->waiter[direction] = nullptr;
        // It may have been woken, and not got to its next attempt.
        handle->set_ready(direction);
      }
      end(handle, direction);
    }
  }
}

bool Poller::starve(Starved& starved) {
  std::lock_guard guard(starved_lock_);
  if (starved.listed) return false;
  starved.listed = true;
  starved.next = starved_;
  starved_ = &starved;
  starved_count_.fetch_add(1, std::memory_order_seq_cst);
  return true;
}

void Poller::leave(Starved& starved) {
  std::lock_guard guard(starved_lock_);
  if (!starved.listed) return;
  starved.listed = false;
  Starved** at = &starved_;
  while (*at != &starved) at = &(*at)->next;
  *at = starved.next;
  starved_count_.fetch_sub(1, std::memory_order_relaxed);
}

void Poller::feed_one() {
  std::lock_guard guard(starved_lock_);
  Starved* starved = starved_;
  if (starved == nullptr) return;
  starved_ = starved->next;
  starved->listed = false;
  starved_count_.fetch_sub(1, std::memory_order_relaxed);
  on_events(starved->handle, EPOLLIN);
}

int Poller::wait_events(std::uint64_t timeout_ns) {
  static bool have_pwait2 = true;
  const int count = epoll_wait_ns(epoll_fd_, events_.data(), kMaxEvents, timeout_ns, have_pwait2);
  static_cast<void>(handed_to_epoll.load(std::memory_order_acquire));
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
