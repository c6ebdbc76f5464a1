// SPDX-License-Identifier: BSD-2-Clause
// Starting and stopping the runtime, and worker threads.
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <mutex>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "probe/emit.h"
#include "registry/registry.h"
#include "sched/futex.h"
#include "sched/monitor.h"
#include "sched/scheduler.h"
#include "sched/switch.h"
#include "stack/overflow.h"

namespace fiber {

namespace {

constexpr unsigned kMaxProcessors = 1024;
constexpr std::size_t kDefaultStack = 128 * 1024;
constexpr std::size_t kMinStack = 16 * 1024;
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

unsigned available_cpus() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return 1;
  return std::max(1, CPU_COUNT(&set));
}

Options complete(Options options) {
  const char* processors_wanted = "a number of processors from 1 to 1024";
  const char* stack_wanted = "a number of bytes from 16384 to 1073741824";
  if (options.processors == 0) {
    options.processors = static_cast<unsigned>(environment_number("FIBER_PROCS", 1, kMaxProcessors, processors_wanted));
  }
  if (options.processors == 0) options.processors = std::min(available_cpus(), kMaxProcessors);
  if (options.processors > kMaxProcessors) {
    bad_setting("Options::processors", std::to_string(options.processors).c_str(), processors_wanted);
  }
  if (options.stack_size == 0) {
    options.stack_size = environment_number("FIBER_STACK_SIZE", kMinStack, kMaxStack, stack_wanted);
  }
  if (options.stack_size == 0) options.stack_size = kDefaultStack;
  if (options.stack_size < kMinStack || options.stack_size > kMaxStack) {
    bad_setting("Options::stack_size", std::to_string(options.stack_size).c_str(), stack_wanted);
  }
  options.stack_size = (options.stack_size + page_size() - 1) / page_size() * page_size();
  if (const char* check = std::getenv("FIBER_DEADLOCK_CHECK"); check != nullptr && std::strcmp(check, "0") == 0) {
    options.deadlock_check = false;
  }
  return options;
}

}  // namespace

void run(const Options& options, std::function<void()> main_fiber) {
  detail::Scheduler::instance().run(complete(options), std::move(main_fiber));
}

unsigned processor_count() {
  const detail::Scheduler& scheduler = detail::Scheduler::instance();
  return scheduler.running() ? scheduler.processor_count() : 0;
}

namespace detail {

void Scheduler::run(const Options& options, std::function<void()> main_fiber) {
  if (this_worker() != nullptr) fatal("fiber::run called from a fiber");
  if (running_.exchange(true)) fatal("fiber::run called while the runtime runs already");
  options_ = options;
  processor_count_ = options.processors;
  if (!poller_.open()) fatal("cannot set up epoll: %s", std::strerror(errno));
  if (stacks_ == nullptr || stacks_->usable_size() != options.stack_size) {
    stacks_ = std::make_unique<StackPool>(options.stack_size);
    free_fibers_ = nullptr;  // their stacks have another size
  }
  processors_.clear();
  std::vector<Processor*> published;
  idle_processor_list_ = nullptr;
  for (unsigned i = 0; i < processor_count_; ++i) {
    processors_.push_back(std::make_unique<Processor>());
    processors_.back()->record.index = i;
    processors_.back()->record.worker = kNone;
    published.push_back(processors_.back().get());
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
  struct Main {
    std::function<void()>* function;
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
        state->done->store(1, std::memory_order_release);
        futex_wake(*state->done, 1);
      },
      nullptr, __builtin_return_address(0), main_options);
  new (made.closure) Main{&main_fiber, &done_};
  start_fiber(made.fiber);
  monitor_start();
  start_thread(processors_[0].get(), false);
  while (done_.load(std::memory_order_acquire) == 0) futex_wait(done_, 0);
  shut_down();
}

void Scheduler::shut_down() {
  {
    std::lock_guard guard(lock_);
    stopping_.store(true, std::memory_order_release);
    for (Worker* worker = idle_worker_list_; worker != nullptr; worker = worker->next_idle) {
      worker->wake.store(1, std::memory_order_release);
      futex_wake(worker->wake, 1);
    }
    idle_worker_list_ = nullptr;
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
    bool left_behind = false;
    while (!worker->exited.load(std::memory_order_acquire)) {
      poller_.interrupt();
      {
        std::lock_guard guard(lock_);
        left_behind = worker->processor_taken;
        if (!left_behind && worker->in_blocking) {
          Processor* processor = worker->processor;
          std::uint64_t token = worker->blocking_token;
          left_behind = processor->blocking.compare_exchange_strong(token, 0, std::memory_order_acq_rel);
          worker->processor_taken = left_behind;
        }
      }
      if (left_behind) break;
      timespec nap{0, 200'000};
      nanosleep(&nap, nullptr);
    }
    if (left_behind) {
      worker->thread.detach();
    } else {
      worker->thread.join();
      worker_threads_.fetch_sub(1, std::memory_order_relaxed);
      publish(worker->record.tid, 0u);
    }
  }
  // Fibers that did not end are never run again. Their slots and stacks are not reused: something may still point there.
  registry_for_each([](Fiber* fiber) {
    if (fiber->record.id != 0) set_state(fiber, FIBERPROF_FIBER_DEAD);
  });
  std::lock_guard guard(lock_);
  for (auto& processor : processors_) {
    while (Fiber* fiber = processor->free_fibers) {
      processor->free_fibers = fiber->next;
      fiber->next = free_fibers_;
      free_fibers_ = fiber;
    }
    retired_processors_.push_back(std::move(processor));
  }
  processors_.clear();
  __atomic_store_n(&fiberprof_registry.processor_count, 0u, __ATOMIC_RELEASE);
  for (auto& worker : workers_) retired_workers_.push_back(std::move(worker));
  workers_.clear();
  global_ = FiberList{};
  global_size_.store(0);
  spinning_.store(0);
  blocking_fibers_.store(0);
  stopping_.store(false);
  running_.store(false, std::memory_order_release);
}

void Scheduler::start_thread(Processor* processor, bool spinning) {
  Worker* worker;
  {
    std::lock_guard guard(lock_);
    if (stopping()) return;
    workers_.push_back(std::make_unique<Worker>());
    worker = workers_.back().get();
    worker->index = workers_published_++;
    worker->record.processor = kNone;
    worker->spinning = spinning;
    worker->random = 0x9e3779b97f4a7c15u * (worker->index + 1);
    attach_processor(worker, processor);
    if (!registry_publish_worker(worker->index, &worker->record)) fatal("too many worker threads: %u", worker->index);
    worker_threads_.fetch_add(1, std::memory_order_relaxed);
    try {
      worker->thread = std::thread([this, worker] { worker_main(worker); });
    } catch (const std::system_error& error) {
      fatal("cannot start worker thread %u: %s", worker->index, error.what());
    }
  }
}

void Scheduler::worker_main(Worker* worker) {
  fiber_this_worker = worker;
  char name[16];
  std::snprintf(name, sizeof(name), "fiber-w%u", worker->index);
  pthread_setname_np(pthread_self(), name);
  publish(worker->record.tid, static_cast<std::uint32_t>(syscall(SYS_gettid)));
  worker->exceptions = reinterpret_cast<ExceptionState*>(abi::__cxa_get_globals());
  SignalStack signal_stack;
  FIBER_EMIT(worker_start, worker->record.tid, worker->processor->record.index, address_of(&worker->record));
  processor_arrived(worker);

  while (Fiber* fiber = find_runnable(worker)) {
    start_running(worker, fiber);
    // finish_switch() leaves an unlock where it found it, to spare the fibers' own switches a store; the fiber must not
    // do it again, for by now the lock is somebody else's.
    worker->after.kind = AfterSwitch::Kind::nothing;
    fiber_switch(&worker->scheduler_context, fiber->record.sp);
    finish_switch();
  }
  fiber_this_worker = nullptr;
  worker->exited.store(true, std::memory_order_release);
}

bool Scheduler::everything_asleep() {
  std::lock_guard guard(lock_);
  if (idle_processor_count_.load() != processor_count_ || blocking_fibers_.load() != 0 || global_.size != 0) return false;
  for (const auto& processor : processors_) {
    if (processor->depth() != 0) return false;
  }
  return next_timer() == TimerHeap::kNever && poller_.waiters() == 0;
}

}  // namespace detail
}  // namespace fiber
