// SPDX-License-Identifier: BSD-2-Clause
// Starting and stopping the runtime, and worker threads.
#include <cxxabi.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>

#include "probe/emit.h"
#include "registry/registry.h"
#include "report/run_end.h"
#include "sched/futex.h"
#include "sched/monitor.h"
#include "sched/scheduler.h"
#include "sched/seeded.h"
#include "sched/switch.h"
#include "stack/overflow.h"

namespace fiber {

namespace {

constexpr unsigned kMaxProcessors = 1024;
constexpr std::size_t kDefaultStack = 128 * 1024;
constexpr std::size_t kMinStack = 16 * 1024;
constexpr std::chrono::milliseconds kMostBusyPoll(10);
constexpr std::size_t kMaxStack = std::size_t{1} << 30;

[[noreturn]] void bad_setting(const char* name, const char* value, const char* wanted) {
  std::fprintf(stderr, "fiber: %s is '%s': want %s\n", name, value, wanted);
  std::exit(2);
}

// The environment variable as a number; 0 when it is not set.
std::size_t environment_number(const char* name, std::size_t least, std::size_t most, const char* wanted) {
  const char* text = std::getenv(name);
  if (text == nullptr || *text == 0) return 0;
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text, text + std::strlen(text), value);
  if (error != std::errc{} || *end != 0 || value < least || value > most) bad_setting(name, text, wanted);
  return value;
}

bool turned_off(const char* name) {
  const char* text = std::getenv(name);
  return text != nullptr && std::strcmp(text, "0") == 0;
}

unsigned available_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

Options complete(Options options) {
  const char* processors_wanted = "a number of processors from 1 to 1024";
  const char* stack_wanted = "a number of bytes from 16384 to 1073741824";
  const unsigned asked_for = options.processors;
  if (options.processors == 0) {
    options.processors = static_cast<unsigned>(environment_number("FIBER_PROCS", 1, kMaxProcessors, processors_wanted));
  }
  if (options.processors == 0) options.processors = std::min(available_cpus(), kMaxProcessors);
  if (options.processors > kMaxProcessors) {
    bad_setting("Options::processors", std::to_string(options.processors).c_str(), processors_wanted);
  }
  if (options.seed == 0) {
    options.seed = environment_number("FIBER_SCHED_SEED", 0, std::numeric_limits<std::size_t>::max(),
                                      "a number from 0 (off) to 18446744073709551615");
  }
  if (options.seed != 0) {
    if (asked_for > 1) std::fprintf(stderr, "fiber: with a seed there is one processor, not %u\n", asked_for);
    options.processors = 1;
  }
  if (options.stack_size == 0) {
    options.stack_size = environment_number("FIBER_STACK_SIZE", kMinStack, kMaxStack, stack_wanted);
  }
  if (options.stack_size == 0) options.stack_size = kDefaultStack;
  if (options.stack_size < kMinStack || options.stack_size > kMaxStack) {
    bad_setting("Options::stack_size", std::to_string(options.stack_size).c_str(), stack_wanted);
  }
  options.stack_size = (options.stack_size + page_size() - 1) / page_size() * page_size();
  if (options.busy_poll < std::chrono::nanoseconds(0) || options.busy_poll > kMostBusyPoll) {
    bad_setting("Options::busy_poll", std::to_string(options.busy_poll.count()).c_str(),
                "a time from 0 (off) to 10000000 ns");
  }
  if (turned_off("FIBER_DEADLOCK_CHECK")) options.deadlock_check = false;
  if (turned_off("FIBER_SELF_LOCK_CHECK")) options.self_lock_check = false;
  return options;
}

}  // namespace

void detail::run(const Options& options, const std::function<void()>& main_fiber, const void* entry) {
  Scheduler::instance().run(complete(options), main_fiber, entry);
}

unsigned processor_count() {
  const detail::Scheduler& scheduler = detail::Scheduler::instance();
  return scheduler.running() ? scheduler.processor_count() : 0;
}

namespace detail {

namespace {

// At the end of a process that looks for leaks. A fiber that may go on meanwhile may use more of its stack than now.
void tell_of_stacks_left() {
  const bool running = Scheduler::instance().running();
  registry_for_each([running](Fiber* fiber) {
    if (fiber->record.id == 0) return;
    sanitizer::stack_left(running ? fiber->stack.low : reinterpret_cast<std::byte*>(fiber->record.sp),
                          fiber->stack.high);
  });
}

}  // namespace

void Scheduler::run(const Options& options, const std::function<void()>& main_fiber, const void* entry) {
  if (this_worker() != nullptr) fatal("fiber::run called from a fiber");
  if (running_.exchange(true)) fatal("fiber::run called while the runtime runs already");
  options_ = options;
  processor_count_ = options.processors;
  if constexpr (sanitizer::kLooksForLeaks) {
    static const bool told = std::atexit(tell_of_stacks_left) == 0;
    static_cast<void>(told);
  }
  asymmetric_init();
  seeded::start(options.seed);
  if (!poller_.open()) fatal("cannot set up epoll: %s", std::strerror(errno));
  pool_.use_stack_size(options.stack_size);
  std::vector<Processor*> published;
  idle_processor_list_ = nullptr;
  for (unsigned i = 0; i < processor_count_; ++i) {
    if (i == processors_.size()) processors_.push_back(std::make_unique<Processor>());
    processors_[i]->reset(processor_count_ > 1);
    processors_[i]->record.index = i;
    processors_[i]->record.worker = kNone;
    published.push_back(processors_[i].get());
  }
  for (unsigned i = processor_count_; i-- > 1;) {
    processors_[i]->next_idle = idle_processor_list_;
    idle_processor_list_ = processors_[i].get();
  }
  idle_processor_count_.store(processor_count_ - 1);
  registry_publish_processors(published.data(), processor_count_);
  registry_started(now_ns());
  install_overflow_handler();
  done_.store(0);

  SpawnOptions main_options;
  main_options.name = "main";
  RunEnd end;
  struct Main {
    const std::function<void()>* function;
    RunEnd* end;
    std::atomic<std::uint32_t>* done;
  };
  NewFiber made = new_fiber(
      sizeof(Main), alignof(Main),
      [](void* raw) {
        Main* state = static_cast<Main*>(raw);
        try {
          (*state->function)();
        } catch (...) {
          unhandled_exception();
        }
        state->end->let_others_end();
        state->done->store(1, std::memory_order_release);
        futex_wake(*state->done, 1);
      },
      entry, __builtin_return_address(0), main_options);
  new (made.closure) Main{&main_fiber, &end, &done_};
  start_fiber(made.fiber);
  monitor_start();
  start_thread(processors_[0].get(), false);
  while (done_.load(std::memory_order_acquire) == 0) futex_wait(done_, 0);
  shut_down(end);
  end.tell();
}

void Scheduler::shut_down(RunEnd& end) {
  {
    std::lock_guard guard(lock_);
    stopping_.store(true, std::memory_order_release);
    for (Worker* worker = idle_worker_list_; worker != nullptr; worker = worker->next_idle) {
      worker->wake.store(1, std::memory_order_release);
      futex_wake(worker->wake, 1);
    }
    idle_worker_list_ = nullptr;
    idle_workers_ = 0;
  }
  monitor_stop();
  // Workers end at their next scheduling decision. Those inside a blocking section are left behind: when the section
  // ends they find their processor taken and sleep for ever.
  for (std::size_t i = 0;; ++i) {
    Worker* worker;
    {
      std::lock_guard guard(lock_);
      if (i == workers_.size()) break;
      worker = workers_[i].get();
    }
    if (!worker->thread.joinable()) continue;  // without a thread, or left behind by an earlier run
    bool left_behind = false;
    while (!worker->exited.load(std::memory_order_acquire)) {
      poller_.interrupt();
      {
        std::lock_guard guard(lock_);
        left_behind = worker->processor_taken;
        if (!left_behind) {
          // A worker in a section has left its number with its processor; its own fields are not for others to read.
          for (unsigned p = 0; p < processor_count_ && !left_behind; ++p) {
            std::uint64_t token = processors_[p]->blocking.load(std::memory_order_acquire);
            left_behind = token >> 32 == std::uint64_t{worker->index} + 1 &&
                          processors_[p]->blocking.compare_exchange_strong(token, 0, std::memory_order_acq_rel);
          }
          worker->processor_taken = left_behind;
        }
        worker->left_behind = left_behind;
      }
      if (left_behind) break;
      timespec nap{0, 200'000};
      nanosleep(&nap, nullptr);
    }
    if (left_behind) {
      worker->thread.detach();
    } else {
      worker->thread.join();
      worker->next_idle = threadless_workers_;
      threadless_workers_ = worker;
    }
  }
  end.look();
  // Fibers that did not end never run again. Their slots and stacks are not reused: something may still point there.
  registry_for_each([](Fiber* fiber) {
    if (fiber->record.id != 0) set_state(fiber, FIBERPROF_FIBER_DEAD);
  });
  poller_.end_abandoned();
  std::lock_guard guard(lock_);
  for (unsigned i = 0; i < processor_count_; ++i) {
    Processor* processor = processors_[i].get();
    pool_.give(std::exchange(processor->free, {}));
  }
  pool_.forget_taken();
  __atomic_store_n(&fiberprof_registry.processor_count, 0u, __ATOMIC_RELEASE);
  global_ = FiberList{};
  global_size_.store(0);
  spinning_.store(0);
  wakes_to_skip_.store(0);
  blocking_fibers_.store(0);
  seeded::stop();
  stopping_.store(false);
  running_.store(false, std::memory_order_release);
}

void Scheduler::start_thread(Processor* processor, bool spinning) {
  std::lock_guard guard(lock_);
  if (stopping()) return;
  Worker* worker = threadless_workers_;
  if (worker != nullptr) {
    threadless_workers_ = worker->next_idle;
    worker->exited.store(false, std::memory_order_relaxed);
  } else {
    workers_.push_back(std::make_unique<Worker>());
    worker = workers_.back().get();
    worker->index = static_cast<std::uint32_t>(workers_.size() - 1);
    worker->random = 0x9e3779b97f4a7c15u * (worker->index + 1);
    if (!registry_publish_worker(worker->index, &worker->record)) fatal("too many worker threads: %u", worker->index);
  }
  worker->spinning = spinning;
  attach_processor(worker, processor);
  worker_threads_.fetch_add(1, std::memory_order_relaxed);
  try {
    worker->thread = std::thread([this, worker] { worker_main(worker); });
  } catch (const std::system_error& error) {
    fatal("cannot start worker thread %u: %s", worker->index, error.what());
  }
}

void Scheduler::worker_main(Worker* worker) {
  set_this_worker(worker);
  char name[16];
  std::snprintf(name, sizeof(name), "fiber-w%u", worker->index);
  pthread_setname_np(pthread_self(), name);
  publish(worker->record.stack_top, address_of(__builtin_frame_address(0)));
  publish(worker->record.tid, static_cast<std::uint32_t>(syscall(SYS_gettid)));
  worker->exceptions = reinterpret_cast<ExceptionState*>(abi::__cxa_get_globals());
  sanitizer::thread_started(worker->sanitizer);
  worker->signal_stack.enable();
  FIBER_EMIT(worker_start, worker->record.tid, worker->processor->record.index, address_of(&worker->record));
  processor_arrived(worker);

  while (Fiber* fiber = find_runnable(worker)) {
    worker->processor->decide_slowly_next();  // somebody may have attached while nothing ran
    start_running(worker, fiber);
    // finish_switch() leaves an unlock where it found it, to spare the fibers' own switches a store; the fiber must not
    // do it again, for by now the lock is somebody else's.
    worker->after.kind = AfterSwitch::Kind::nothing;
    sanitizer::leave(worker->sanitizer, fiber->sanitizer, false);
    fiber_switch(&worker->scheduler_context, fiber->record.sp);
    sanitizer::arrived(worker->sanitizer);
    finish_switch();
    // Nor may it stay there while the worker sleeps: the address of a lock leads a reader of memory to what it is in.
    worker->after = {};
  }
  worker->signal_stack.disable();
  set_this_worker(nullptr);
  worker_threads_.fetch_sub(1, std::memory_order_relaxed);
  publish(worker->record.tid, 0u);
  std::lock_guard guard(lock_);
  if (stopping()) {
    worker->exited.store(true, std::memory_order_release);  // shut_down() waits for it
  } else {
    worker->thread.detach();
    worker->next_idle = threadless_workers_;
    threadless_workers_ = worker;
  }
}

bool Scheduler::everything_asleep() {
  std::lock_guard guard(lock_);
  // In this order: what is no longer in a section holds a processor, or is in a queue.
  if (blocking_fibers_.load() != 0 || idle_processor_count_.load() != processor_count_ || global_.size != 0)
    return false;
  for (unsigned i = 0; i < processor_count_; ++i) {
    if (processors_[i]->depth() != 0) return false;
  }
  return next_timer() == TimerHeap::kNever && poller_.waiters() == 0;
}

}  // namespace detail
}  // namespace fiber
