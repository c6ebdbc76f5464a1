// SPDX-License-Identifier: BSD-2-Clause
// A program that adopts the two contracts by itself, without libfiberrt: threads instead of fibers, a hand-made
// registry, probes fired with values known by construction. It is the conformance target for "any other runtime that
// adopts the headers", and lets a test say exactly what the tool must find.
//
// Reads commands from stdin, one a line, and answers each with one line:
//   [on WORKER] COMMAND ARGUMENTS…
// Commands run on the given worker thread (default 0) while it pretends to run fiber 100 + WORKER, unless named below.
//   pid                                   -> PID and the tids of the workers
//   blocked N REASON PARKED QUEUED DEPTH  fire `blocked` N times, DEPTH frames below the command
//   sampled N REASON PARKED QUEUED DEPTH WEIGHT
//   flood N                               fire both `blocked` probes N times if enabled; answers how often each
//   cut N                                 fire `blocked` N times where the frame pointer chain leads to no memory
//   wild MS N                             N sleeps of MS while the worker names a fiber where there is no memory
//   storm MS                              every worker floods for MS at once; answers hits
//   queue PROCESSOR DEPTH STATE N         fire proc_sample
//   queued ENTRY DEPTH NS N               fire queue_sample
//   fibers COUNT NS N                     fire fibers_sample
//   handoff N, overrun N
//   mutex MS N                            wait N times MS for a pthread mutex another thread holds
//   sleep MS N, pipe MS N, spin MS        nanosleep; read(2) on an empty pipe; a busy loop
//   idle MS N                             a futex wait with no fiber on the worker
//   wait HOW MS N, idlewait HOW MS N      as kernel_waits.h has it, with and without a fiber; answers "no" if the
//   kernel
//                                         does not
//   start                                 starts one more worker
//   park REASON AGO_MS                    a fiber that has waited since AGO_MS; its stack is a real one; never ends
//   semaphores                            -> the semaphores, in the order of the list
//   addresses                             -> of the first semaphore (2 bytes each), how many, of the sites of blocked,
//                                            blocked_sampled and proc_sample
//   exec                                  replaces the process by /bin/sleep 1000
//   become PATH                           replaces the process by another program of this kind
//   fork N                                a child, forked and never replaced, fires blocked N times -> fired N
//   quit

#define FIBERPROF_DEFINE_PROBES
#include <fiberprof/probes.h>
#include <fiberprof/registry.h>

#include <linux/futex.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "contract_frames.h"
#include "contract_registry.h"
#include "kernel_waits.h"

namespace {

using namespace contract_target;

class Worker {
 public:
  explicit Worker(uint32_t index) : index_(index), thread_([this] { loop(); }) {}
  ~Worker() {
    run(nullptr);
    thread_.join();
  }
  // Runs `job` on the worker's thread, returns when it has ended.
  void run(std::function<void()> job) {
    start(std::move(job));
    wait();
  }
  void start(std::function<void()> job) {
    const std::lock_guard lock(mutex_);
    job_ = std::move(job);
    has_job_ = true;
    changed_.notify_all();
  }
  void wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !has_job_; });
  }
  uint32_t tid() const { return worker_records[index_].tid; }

 private:
  void loop() {
    auto& record = worker_records[index_];
    record.processor = index_ % kProcessors;
    record.tid = static_cast<uint32_t>(gettid());
    if (FIBERPROF_ENABLED(worker_start))
      fiberprof_site_worker_start(record.tid, record.processor, reinterpret_cast<uint64_t>(&record));
    started_ = true;
    started_.notify_all();
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return has_job_; });
      if (!job_) break;
      const auto job = std::move(job_);
      lock.unlock();
      job();
      lock.lock();
      has_job_ = false;
      changed_.notify_all();
    }
    has_job_ = false;
    record.tid = 0;
    changed_.notify_all();
  }

 public:
  void wait_started() { started_.wait(false); }

 private:
  const uint32_t index_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> job_;
  bool has_job_ = false;
  std::atomic<bool> started_{false};
  std::thread thread_;
};

std::vector<std::unique_ptr<Worker>> workers;
std::vector<std::thread> parked_threads;

void add_worker() {
  const auto index = static_cast<uint32_t>(workers.size());
  workers.push_back(std::make_unique<Worker>(index));
  workers.back()->wait_started();
  fiberprof_registry.worker_count = index + 1;
}

// Runs `body` on a worker as if a fiber did.
void as_fiber(uint32_t worker, const std::function<void()>& body) {
  workers[worker]->run([&] {
    auto& record = worker_records[worker];
    // Both ways to say what runs: runtimes of before `fiber` was there have only the other, here worker 0.
    if (worker == 0) {
      record.fiber_entry = reinterpret_cast<uint64_t>(&contract_fiber_entry);
    } else {
      running[worker].id = 100 + worker;
      running[worker].entry = reinterpret_cast<uint64_t>(&contract_fiber_entry);
      std::snprintf(running[worker].name, sizeof running[worker].name, "on worker %u", worker);
      record.fiber = reinterpret_cast<uint64_t>(&running[worker]);
    }
    *const_cast<volatile uint64_t*>(&record.current_fiber) = 100 + worker;
    contract_fiber_entry(body);
    *const_cast<volatile uint64_t*>(&record.current_fiber) = 0;
  });
}

struct Hits {
  uint64_t exact = 0, sampled = 0;
};

Hits flood(uint64_t id, uint64_t n) {
  Hits hits;
  for (uint64_t i = 0; i < n; ++i) {
    if (FIBERPROF_ENABLED(blocked)) {
      fiberprof_site_blocked(id, FIBERPROF_REASON_CHAN_RECV, 1, 1000, 100, 0);
      ++hits.exact;
    }
    if (FIBERPROF_ENABLED(blocked_sampled)) {
      fiberprof_site_blocked_sampled(id, FIBERPROF_REASON_CHAN_RECV, 1, 1000, 100, 0, 10);
      ++hits.sampled;
    }
  }
  return hits;
}

std::string storm(uint64_t ms) {
  std::atomic<uint64_t> exact{0}, sampled{0};
  const uint64_t end = now_ns() + ms * 1000000;
  for (uint32_t i = 0; i < workers.size(); ++i)
    workers[i]->start([&, i] {
      contract_recurse(i % 8, [&] {
        while (now_ns() < end) {
          const Hits hits = flood(i, 50);
          exact += hits.exact;
          sampled += hits.sampled;
        }
      });
    });
  for (auto& worker : workers) worker->wait();
  return "hits " + std::to_string(exact) + " " + std::to_string(sampled);
}

// N waits of MS each for a mutex that a thread of no interest holds.
void wait_for_mutex(uint32_t worker, uint64_t ms, uint64_t n) {
  for (uint64_t i = 0; i < n; ++i) {
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    std::atomic<bool> held{false};
    std::thread holder([&] {
      pthread_mutex_lock(&mutex);
      held = true;
      held.notify_all();
      contract_sleep(ms);
      pthread_mutex_unlock(&mutex);
    });
    held.wait(false);
    as_fiber(worker, [&] { contract_lock(mutex); });
    holder.join();
  }
}

void wait_for_pipe(uint32_t worker, uint64_t ms, uint64_t n) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  for (uint64_t i = 0; i < n; ++i) {
    std::thread writer([&] {
      contract_sleep(ms);
      if (write(ends[1], "x", 1) != 1) std::abort();
    });
    as_fiber(worker, [&] { contract_read(ends[0]); });
    writer.join();
  }
  close(ends[0]);
  close(ends[1]);
}

void idle(uint32_t worker, uint64_t ms, uint64_t n) {
  workers[worker]->run([&] {
    for (uint64_t i = 0; i < n; ++i) {
      uint32_t word = 0;
      const timespec time{static_cast<time_t>(ms / 1000), static_cast<long>(ms % 1000 * 1000000)};
      syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &time, nullptr, 0);
    }
  });
}

void park(uint64_t reason, uint64_t ago_ms) {
  static std::atomic<size_t> parked{0};
  const size_t before = parked;
  auto& fiber = fiber_slab[before];
  parked_threads.emplace_back([&fiber, reason, ago_ms] {
    contract_fiber_entry([&] {
      contract_recurse(2, [&] {
        contract_park(fiber, reason, ago_ms, [] {
          ++parked;
          parked.notify_all();
        });
      });
    });
  });
  parked.wait(before);
}

std::string command(std::istringstream& words) {
  std::string name;
  uint32_t worker = 0;
  words >> name;
  if (name == "on") words >> worker >> name;
  if (name == "become") {
    std::string path;
    words >> path;
    execl(path.c_str(), path.c_str(), "1", nullptr);
    return "error: exec";
  }
  if (worker >= workers.size()) return "error: no such worker";
  std::string how;
  if (name == "wait" || name == "idlewait") words >> how;
  uint64_t a[6] = {};
  for (auto& argument : a) words >> argument;
  const uint64_t id = 100 + worker;

  if (name == "pid") {
    std::string reply = std::to_string(getpid());
    for (const auto& each : workers) reply += " " + std::to_string(each->tid());
    return reply;
  }
  if (name == "blocked" || name == "sampled") {
    uint64_t fired = 0;
    as_fiber(worker, [&] {
      contract_recurse(a[4], [&] {
        for (uint64_t i = 0; i < a[0]; ++i) {
          if (name == "blocked" && FIBERPROF_ENABLED(blocked)) {
            fiberprof_site_blocked(id, a[1], 0xabc, a[2], a[3], 7);
            ++fired;
          } else if (name == "sampled" && FIBERPROF_ENABLED(blocked_sampled)) {
            fiberprof_site_blocked_sampled(id, a[1], 0xabc, a[2], a[3], 7, a[5]);
            ++fired;
          }
        }
      });
    });
    return "fired " + std::to_string(fired);
  }
  if (name == "flood") {
    Hits hits;
    const uint64_t start = now_ns();
    as_fiber(worker, [&] { contract_recurse(a[1], [&] { hits = flood(id, a[0]); }); });
    return "hits " + std::to_string(hits.exact) + " " + std::to_string(hits.sampled) + " ns " +
           std::to_string(now_ns() - start);
  }
  if (name == "cut") {
    uint64_t fired = 0;
    as_fiber(worker, [&] { contract_cut([&] { fired = flood(id, a[0]).exact; }); });
    return "fired " + std::to_string(fired);
  }
  if (name == "wild") {
    as_fiber(worker, [&] {
      const uint64_t fiber = worker_records[worker].fiber;
      *const_cast<volatile uint64_t*>(&worker_records[worker].fiber) = kNoMemory;
      for (uint64_t i = 0; i < a[1]; ++i) contract_sleep(a[0]);
      *const_cast<volatile uint64_t*>(&worker_records[worker].fiber) = fiber;
    });
    return "ok";
  }
  if (name == "storm") return storm(a[0]);
  if (name == "queue") {
    for (uint64_t i = 0; i < a[3]; ++i)
      if (FIBERPROF_ENABLED(proc_sample)) fiberprof_site_proc_sample(a[0], a[1], a[2]);
  } else if (name == "queued") {
    for (uint64_t i = 0; i < a[3]; ++i)
      if (FIBERPROF_ENABLED(queue_sample)) fiberprof_site_queue_sample(id, a[0], a[1], a[2], 0);
  } else if (name == "fibers") {
    for (uint64_t i = 0; i < a[2]; ++i)
      if (FIBERPROF_ENABLED(fibers_sample)) fiberprof_site_fibers_sample(a[0], a[1]);
  } else if (name == "handoff") {
    for (uint64_t i = 0; i < a[0]; ++i)
      if (FIBERPROF_ENABLED(handoff)) fiberprof_site_handoff(0, 1, 2, FIBERPROF_HANDOFF_BLOCKING, 3);
  } else if (name == "overrun") {
    for (uint64_t i = 0; i < a[0]; ++i)
      if (FIBERPROF_ENABLED(overrun)) fiberprof_site_overrun(1, 20000000, 0);
  } else if (name == "mutex") {
    wait_for_mutex(worker, a[0], a[1]);
  } else if (name == "sleep") {
    as_fiber(worker, [&] {
      for (uint64_t i = 0; i < a[1]; ++i) contract_sleep(a[0]);
    });
  } else if (name == "pipe") {
    wait_for_pipe(worker, a[0], a[1]);
  } else if (name == "spin") {
    as_fiber(worker, [&] { contract_spin(a[0]); });
  } else if (name == "idle") {
    idle(worker, a[0], a[1]);
  } else if (name == "wait" || name == "idlewait") {
    bool done = true;
    const auto waits = [&] {
      for (uint64_t i = 0; i < a[1]; ++i) done = kernel_waits::wait(how, a[0]) && done;
    };
    name == "wait" ? as_fiber(worker, waits) : workers[worker]->run(waits);
    return done ? "ok" : "no";
  } else if (name == "start") {
    add_worker();
  } else if (name == "park") {
    park(a[0], a[1]);
  } else if (name == "semaphores") {
    std::string reply;
#define SEMAPHORE(probe, nargs, args) reply += std::to_string(fiber_##probe##_semaphore) + " ";
    FIBERPROF_PROBES(SEMAPHORE)
    return reply;
  } else if (name == "addresses") {
    int count = 0;
#define COUNT(probe, nargs, args) ++count;
    FIBERPROF_PROBES(COUNT)
    std::string reply = std::to_string(reinterpret_cast<uint64_t>(&fiber_park_semaphore)) + " " + std::to_string(count);
    for (const auto site : {reinterpret_cast<uint64_t>(&fiberprof_site_blocked),
                            reinterpret_cast<uint64_t>(&fiberprof_site_blocked_sampled),
                            reinterpret_cast<uint64_t>(&fiberprof_site_proc_sample)})
      reply += " " + std::to_string(site);
    return reply;
  } else if (name == "fork") {
    int ends[2];
    if (pipe(ends) != 0) std::abort();
    const pid_t child = fork();
    if (child == 0) {
      uint64_t fired = 0;
      contract_fiber_entry([&] { fired = flood(id, a[0]).exact; });
      _exit(write(ends[1], &fired, sizeof fired) == sizeof fired ? 0 : 1);
    }
    close(ends[1]);  // so that the end of a child that dies is noticed
    uint64_t fired = 0;
    const bool told = read(ends[0], &fired, sizeof fired) == sizeof fired;
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    if (!told) return "error: the child ended with status " + std::to_string(status);
    return "fired " + std::to_string(fired) + " in " + std::to_string(child);
  } else if (name == "exec") {
    execl("/bin/sleep", "sleep", "1000", nullptr);
    return "error: exec";
  } else {
    return "error: no such command";
  }
  return "ok";
}

}  // namespace

int main(int argc, char** argv) {
  fill_registry();
  const int count = argc > 1 ? std::atoi(argv[1]) : 2;
  for (int i = 0; i < count; ++i) add_worker();
  std::cout << "ready" << std::endl;
  for (std::string line; std::getline(std::cin, line) && line != "quit";) {
    std::istringstream words(line);
    std::cout << command(words) << std::endl;
  }
  // Parked threads never end; the process does.
  if (!parked_threads.empty()) _exit(0);
  workers.clear();
  return 0;
}
