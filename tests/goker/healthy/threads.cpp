// SPDX-License-Identifier: BSD-2-Clause
// Threads that are no fibers bring the end of the wait.
#include <pthread.h>
#include <semaphore.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "goker/healthy/healthy.h"

namespace healthy {

namespace {

using Sender = fiber::Sender<int>;

void join(std::thread& thread) {
  outside([&] { thread.join(); });
}

void foreign_thread(Time time) {
  auto [sender, waiter] = await_value();
  std::thread thread([time, sent = std::move(sender)]() mutable {
    sleep_thread(time);
    sent.send(1);
  });
  waiter.join();
  join(thread);
}
const Registration r11({"11", "foreign_thread", "only a plain thread's stack has the sender", foreign_thread});

thread_local Sender of_thread;

void thread_locals(Time time) {
  auto [sender, waiter] = await_value();
  std::thread thread([time, sent = std::move(sender)]() mutable {
    of_thread = std::move(sent);
    sleep_thread(time);
    of_thread.send(1);
  });
  waiter.join();
  join(thread);
}
const Registration r11b({"11b", "thread_locals", "only a plain thread's thread_local has the sender", thread_locals});

void thread_specific(Time time) {
  pthread_key_t key;
  if (pthread_key_create(&key, [](void* kept) { delete static_cast<Sender*>(kept); }) != 0) std::abort();
  auto [sender, waiter] = await_value();
  std::thread thread([time, key, sent = std::move(sender)]() mutable {
    pthread_setspecific(key, new Sender(std::move(sent)));
    sleep_thread(time);
    static_cast<Sender*>(pthread_getspecific(key))->send(1);
  });
  waiter.join();
  join(thread);
  pthread_key_delete(key);
}
const Registration r11c({"11c", "thread_specific", "only a plain thread's pthread key has the sender",
                         thread_specific});

void async(Time time) {
  fiber::Channel<int> channel;
  auto future = std::async(std::launch::async, [time, to = channel.sender()]() mutable {
    fiber::Channel<int> own;
    fiber::go([from = own.receiver(), to = std::move(to)]() mutable { to.send(*from.receive()); });
    sleep_thread(time);
    own.send(1);
  });
  auto waiter = fiber::spawn([from = channel.receiver()]() mutable { from.receive(); });
  waiter.join();
  outside([&] { future.get(); });
}
const Registration r11d({"11d", "async", "a thread of std::async starts fibers and feeds them", async});

// Holds `lock` in a thread for that time while fibers want it.
template <class Lock, class Unlock, class Waiter>
void held_by_thread(Time time, Lock lock, Unlock unlock, Waiter waiter) {
  std::atomic<bool> has{false};
  std::thread thread([&] {
    lock();
    has = true;
    sleep_thread(time);
    unlock();
  });
  while (!has) fiber::sleep_for(100us);
  std::vector<fiber::JoinHandle<void>> all;
  for (int i = 0; i < 4; ++i) all.push_back(fiber::spawn(waiter));
  for (auto& handle : all) handle.join();
  join(thread);
}

void mutex_of_thread(Time time) {
  fiber::Mutex mutex;
  held_by_thread(
      time, [&] { mutex.lock(); }, [&] { mutex.unlock(); }, [&] { std::lock_guard guard(mutex); });
}
const Registration r11e({"11e", "mutex_of_thread", "a plain thread owns the mutex", mutex_of_thread});

void reading_thread(Time time) {
  fiber::RwLock lock;
  held_by_thread(
      time, [&] { lock.lock_shared(); }, [&] { lock.unlock_shared(); }, [&] { std::lock_guard guard(lock); });
}
const Registration r11f({"11f", "reading_thread", "a plain thread reads under the lock", reading_thread});

void permits_of_thread(Time time) {
  fiber::Semaphore semaphore(1);
  held_by_thread(
      time, [&] { semaphore.acquire(); }, [&] { semaphore.release(); },
      [&] {
        semaphore.acquire();
        semaphore.release();
      });
}
const Registration r11g({"11g", "permits_of_thread", "a plain thread returns the permit", permits_of_thread});

void once_of_thread(Time time) {
  fiber::Once once;
  std::atomic<bool> runs{false};
  std::thread thread([&] {
    once.call([&] {
      runs = true;
      sleep_thread(time);
    });
  });
  while (!runs) fiber::sleep_for(100us);
  auto waiter = fiber::spawn([&] { once.call([] {}); });
  waiter.join();
  join(thread);
}
const Registration r11h({"11h", "once_of_thread", "a plain thread runs the once", once_of_thread});

void notified_by_thread(Time time) {
  fiber::Mutex mutex;
  fiber::Condition changed;
  bool ready = false;
  std::thread thread([&] {
    sleep_thread(time);
    std::lock_guard guard(mutex);
    ready = true;
    changed.notify_all();
  });
  auto waiter = fiber::spawn([&] {
    std::unique_lock guard(mutex);
    changed.wait(guard, [&] { return ready; });
  });
  waiter.join();
  join(thread);
}
const Registration r11i({"11i", "notified_by_thread", "a plain thread notifies", notified_by_thread});

void token_of_thread(Time time) {
  auto group = std::make_shared<fiber::WaitGroup>();
  std::thread thread([time, done = group->token()] { sleep_thread(time); });
  auto waiter = fiber::spawn([group] { group->wait(); });
  waiter.join();
  group->wait();
  join(thread);
}
const Registration r11j({"11j", "token_of_thread", "a plain thread has the wait group's token", token_of_thread});

void cancelled_by_thread(Time time) {
  fiber::CancelSource source = fiber::with_cancel();
  auto waiter = fiber::spawn([context = source.context()] {
    fiber::Channel<int> dead;
    static_cast<void>(dead.receive(context));
  });
  std::thread thread([time, own = std::move(source)]() mutable {
    sleep_thread(time);
    own.cancel();
  });
  waiter.join();
  join(thread);
}
const Registration r11k({"11k", "cancelled_by_thread", "a plain thread can cancel", cancelled_by_thread});

// Runs what it is given when it is due.
struct ThreadPool {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> tasks;
  bool due = false;
  void run() {
    std::unique_lock guard(mutex);
    changed.wait(guard, [this] { return due; });
    for (auto& task : tasks) task();
  }
};

void thread_pool(Time time) {
  auto [sender, waiter] = await_value();
  auto pool = std::make_shared<ThreadPool>();
  pool->tasks.emplace_back([sent = std::move(sender)]() mutable { sent.send(1); });
  std::thread worker([pool] { pool->run(); });
  std::thread clock([time, pool] {
    sleep_thread(time);
    std::lock_guard guard(pool->mutex);
    pool->due = true;
    pool->changed.notify_all();
  });
  pool.reset();
  waiter.join();
  join(worker);
  join(clock);
}
const Registration r11l({"11l", "thread_pool", "a task of a pool of plain threads has the sender", thread_pool});

// An event loop whose events are known to the kernel only.
void event_loop(Time time) {
  const int events = epoll_create1(EPOLL_CLOEXEC);
  const int clock = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  if (events < 0 || clock < 0) std::abort();
  auto [sender, waiter] = await_value();
  epoll_event event{.events = EPOLLIN, .data = {.ptr = new Sender(std::move(sender))}};
  epoll_ctl(events, EPOLL_CTL_ADD, clock, &event);
  event = {};
  const itimerspec due{.it_interval = {}, .it_value = {.tv_sec = time / 1s, .tv_nsec = (time % 1s).count()}};
  timerfd_settime(clock, 0, &due, nullptr);
  std::thread thread([events] {
    epoll_event happened{};
    while (epoll_wait(events, &happened, 1, -1) != 1) continue;
    auto* kept = static_cast<Sender*>(happened.data.ptr);
    kept->send(1);
    delete kept;
  });
  waiter.join();
  join(thread);
  close(events);
  close(clock);
}
const Registration r15f({"15f", "event_loop", "through the data of an event of an epoll", event_loop});

sem_t signalled;
Sender* at_signal;

void signal_handler(Time time) {
  sem_init(&signalled, 0, 0);
  struct sigaction action {};
  action.sa_handler = [](int) { sem_post(&signalled); };
  action.sa_flags = SA_RESTART;
  sigaction(SIGUSR1, &action, nullptr);
  auto [sender, waiter] = await_value();
  at_signal = new Sender(std::move(sender));
  timer_t timer;
  sigevent by_signal{};
  by_signal.sigev_notify = SIGEV_SIGNAL;
  by_signal.sigev_signo = SIGUSR1;
  if (timer_create(CLOCK_MONOTONIC, &by_signal, &timer) != 0) std::abort();
  const itimerspec due{.it_interval = {}, .it_value = {.tv_sec = time / 1s, .tv_nsec = (time % 1s).count()}};
  timer_settime(timer, 0, &due, nullptr);
  std::thread thread([] {
    while (sem_wait(&signalled) != 0) continue;
    at_signal->send(1);
    delete std::exchange(at_signal, nullptr);
  });
  waiter.join();
  join(thread);
  timer_delete(timer);
}
const Registration r32({"32", "signal_handler", "a global is used when a signal has come", signal_handler});

std::atomic<Sender*> passed;  // to the handler, and back
std::atomic<bool> with_handler;
std::atomic<std::int64_t> handler_ns;

void keep_for_a_while(int) {
  Sender* const volatile kept = passed.exchange(nullptr);
  with_handler = true;
  with_handler.notify_all();
  const timespec pause{.tv_sec = handler_ns / 1'000'000'000, .tv_nsec = handler_ns % 1'000'000'000};
  nanosleep(&pause, nullptr);
  passed = kept;
  passed.notify_all();
}

[[gnu::noinline]] void pass(Sender sender) { passed = new Sender(std::move(sender)); }

void handler_on_a_sleeping_worker(Time time) {
  struct sigaction action {};
  action.sa_handler = keep_for_a_while;
  sigaction(SIGUSR2, &action, nullptr);
  handler_ns = time.count();
  with_handler = false;
  auto [sender, waiter] = await_value();
  pass(std::move(sender));
  std::thread thread([worker = gettid()] {
    sleep_thread(5ms);  // it has fallen asleep
    if (tgkill(getpid(), worker, SIGUSR2) != 0) std::abort();
    with_handler.wait(false);
    passed.wait(nullptr);
    Sender* const returned = passed.exchange(nullptr);
    returned->send(1);
    delete returned;
  });
  waiter.join();
  join(thread);
}
const Registration r32b({"32b", "handler_on_a_sleeping_worker", "a signal handler runs on top of an idle worker",
                         handler_on_a_sleeping_worker});

}  // namespace

}  // namespace healthy
