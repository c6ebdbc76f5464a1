// SPDX-License-Identifier: BSD-2-Clause
#include "deadlock/polling.h"

#include <fiberprof/registry.h>

#include <algorithm>
#include <random>
#include <thread>
#include <utility>

#include "deadlock/freeze.h"
#include "process/proc.h"
#include "process/target.h"
#include "session/stopwatch.h"

namespace fiberprof {
namespace {

constexpr size_t kOfPlace = 4, kFibers = 32;  // that are looked at
constexpr int kRounds = 1500;
constexpr uint32_t kEnough = 24;  // looks that count
constexpr size_t kMost = 96;      // looks
constexpr size_t kFrames = 64;
constexpr size_t kTopWords = 2;
constexpr fiberprof_field_index kFields[] = {FIBERPROF_FIELD_fiber_polls, FIBERPROF_FIELD_fiber_polls_of,
                                             FIBERPROF_FIELD_fiber_polls_since, FIBERPROF_FIELD_fiber_polls_at};

// By frame pointers from a thread's registers, within its fiber's stack.
PollLook walk(TargetMemory& memory, const FiberInfo& fiber, const StoppedThread& thread) {
  PollLook look{{thread.pc + 1},
                std::vector<uint64_t>(std::min<uint64_t>(kTopWords, (fiber.stack_high - thread.sp) / 8))};
  if (memory.read(thread.sp, {reinterpret_cast<char*>(look.top.data()), look.top.size() * 8}) != ReadStatus::ok)
    look.top.clear();
  uint64_t frame = thread.frame_pointer, least = thread.sp;
  while (look.frames.size() < kFrames && frame % 8 == 0 && frame >= least && frame < fiber.stack_high &&
         fiber.stack_high - frame >= 16) {
    uint64_t record[2];  // caller's frame pointer, return address
    if (memory.read(frame, {reinterpret_cast<char*>(record), sizeof record}) != ReadStatus::ok) break;
#if defined(__aarch64__)
    record[1] &= (uint64_t{1} << 48) - 1;  // without the pointer authentication code
#endif
    if (record[1] == 0) break;
    look.frames.push_back(record[1]);
    least = frame + 1;
    frame = record[0];
  }
  return look;
}

}  // namespace

void count_looks(const std::vector<PollLook>& looks, const std::set<uint64_t>& places, const CodeKindOf& kind_of,
                 Polling& polling) {
  using Frames = std::vector<uint64_t>::const_iterator;
  const auto own_from = [&](const PollLook& look, Frames from) {
    return std::find_if(from, look.frames.end(), [&](uint64_t one) { return kind_of(one) == CodeKind::program; });
  };
  const auto has = [&](const PollLook& look, Frames end, CodeKind kind) {
    return std::find_if(look.frames.begin(), end, [&](uint64_t one) { return kind_of(one) == kind; }) != end;
  };
  // Where the program's own code goes on after a poll, which may be further out than where the poll returns to: what
  // the library has of it as templates may be a function. And after a yield.
  std::set<uint64_t> polls, yields;
  for (const PollLook& look : looks) {
    const Frames inner = own_from(look, look.frames.begin());
    if (inner != look.frames.end() && has(look, inner, CodeKind::yields)) yields.insert(*inner);
    const Frames from = std::ranges::find_if(look.frames, [&](uint64_t one) { return places.contains(one); });
    if (from == look.frames.end()) continue;
    if (const Frames own = own_from(look, from); own != look.frames.end()) polls.insert(*own);
    if (polling.frames.empty()) polling.frames.assign(from, look.frames.end());
  }
  for (const PollLook& look : looks) {
    const Frames first = look.frames.begin(), own = own_from(look, first);
    const bool called = own != first, known = called && own != look.frames.end();
    if (has(look, own, CodeKind::moves))
      polling.moved = true;
    else if ((known && polls.contains(*own)) || (called && std::ranges::any_of(look.top, [&](uint64_t word) {
                                                   return polls.contains(word) || places.contains(word);
                                                 })))
      ++polling.inside;
    else if (!has(look, own, CodeKind::yields) && !(known && yields.contains(*own)))
      ++polling.outside;
  }
}

PollLooks::PollLooks(RegistryView& view, uint32_t pid, CodeKindOf kind_of) : view_(view), pid_(pid) {
  kind_of_ = [this, kind_of = std::move(kind_of)](uint64_t address) {
    const auto [known, fresh] = kinds_.try_emplace(address);
    if (fresh) known->second = kind_of(address);
    return known->second;
  };
}

std::vector<PollLooks::Account> PollLooks::accounts(std::span<const FiberInfo> fibers) {
  std::vector<Account> accounts(fibers.size());
  std::vector<MemoryRange> ranges;
  for (size_t i = 0; i < fibers.size(); ++i) {
    uint64_t* const words[] = {&accounts[i].polls, &accounts[i].of, &accounts[i].since_ns, &accounts[i].at};
    for (size_t field = 0; field < std::size(kFields); ++field)
      ranges.push_back({fibers[i].slot + view_.layout().where(kFields[field]).offset, sizeof(uint64_t),
                        reinterpret_cast<char*>(words[field]), false});
  }
  (void)view_.memory().read_ranges(ranges);  // when the process is gone, nothing was read
  for (size_t i = 0; i < fibers.size(); ++i)
    if (accounts[i].of != fibers[i].id) accounts[i] = {};
  return accounts;
}

std::vector<PollLooks::Watched> PollLooks::choose(const State& state, uint64_t now_ns, uint64_t older_ns) {
  std::vector<FiberInfo> fibers;
  std::vector<size_t> indices;
  for (size_t i = 0; i < state.fibers.size(); ++i) {
    const FiberInfo& fiber = state.fibers[i].info;
    if (fiber.state != FIBERPROF_FIBER_RUNNING && fiber.state != FIBERPROF_FIBER_RUNNABLE) continue;
    fibers.push_back(fiber);
    indices.push_back(i);
  }
  const std::vector<Account> all = accounts(fibers);
  std::map<uint64_t, size_t> of_place;
  std::vector<Watched> chosen;
  for (size_t i = 0; i < fibers.size() && chosen.size() < kFibers; ++i) {
    const Account& account = all[i];
    if (account.of == 0 || account.since_ns > now_ns || now_ns - account.since_ns < older_ns) continue;
    if (of_place[account.at]++ >= kOfPlace) continue;
    Watched watched{fibers[i], account, {}, {}, {}, {}, false};
    const auto known = known_.find(fibers[i].id);
    if (known != known_.end() && known->second.since_ns == account.since_ns) {
      watched.polling = known->second;
      watched.enough = true;
    }
    watched.polling.fiber = indices[i];
    watched.polling.since_ns = account.since_ns;
    if (watched.polling.at == 0) watched.polling.at = account.at;
    chosen.push_back(std::move(watched));
  }
  known_.clear();
  return chosen;
}

std::vector<Polling> PollLooks::look(const State& state, uint64_t now_ns, uint64_t older_ns) {
  if (pid_ == 0 || !std::ranges::all_of(kFields, [&](fiberprof_field_index field) {
        return view_.layout().where(field).size == sizeof(uint64_t);
      }))
    return {};
  std::vector<Watched> all = choose(state, now_ns, older_ns);
  if (all.empty()) return {};
  threads_ = global_tids(pid_);
  std::minstd_rand random(std::random_device{}());
  const uint64_t start_ns = monotonic_ns();
  for (int round = 0; round < kRounds; ++round) {
    // Not in step with whatever the program does.
    std::this_thread::sleep_for(std::chrono::microseconds(500 + random() % 1000));
    for (Watched& one : all)
      if (!one.enough) look_once(one);
    if (std::ranges::all_of(all, &Watched::enough)) break;
  }
  std::vector<FiberInfo> fibers;
  for (const Watched& one : all) fibers.push_back(one.fiber);
  const std::vector<Account> last = accounts(fibers);
  const uint64_t took_ns = monotonic_ns() - start_ns;
  std::vector<Polling> found;
  for (size_t i = 0; i < all.size(); ++i) {
    Polling& polling = all[i].polling;
    if (last[i].of == 0 || last[i].since_ns != all[i].first.since_ns) polling.moved = true;
    count_looks(all[i].looks, all[i].places, kind_of_, polling);
    polling.polls = last[i].polls - all[i].first.polls;
    polling.in_ns = took_ns;
    if (polling.spins()) known_[fibers[i].id] = polling;
    found.push_back(std::move(polling));
  }
  return found;
}

void PollLooks::look_once(Watched& watched) {
  const auto now = view_.again(watched.fiber);
  if (!now || now->state == FIBERPROF_FIBER_PARKED) {
    watched.polling.moved = watched.enough = true;
    return;
  }
  if (now->state == FIBERPROF_FIBER_BLOCKING) watched.enough = ++watched.polling.outside >= kEnough;
  if (now->state != FIBERPROF_FIBER_RUNNING) return;
  const auto summary = view_.summary();
  if (!summary || now->worker >= summary->workers.size()) return;
  const auto thread = threads_.find(summary->workers[now->worker].tid);
  if (thread == threads_.end()) return;
  // A thread that waits for its turn on a busy machine is where it was at the last look.
  const auto ran = read_proc_file(pid_, ("task/" + std::to_string(thread->second) + "/schedstat").c_str());
  if (ran) {
    const std::string time = ran->substr(0, ran->find(' '));
    if (time == std::exchange(watched.ran, time)) return;
  }
  Freeze freeze;
  if (!freeze.stop_thread(pid_, thread->second)) return;
  const StoppedThread& stopped = freeze.threads().front();
  // It may run another one by now.
  if (stopped.sp < now->stack_low || stopped.sp >= now->stack_high) return;
  watched.looks.push_back(walk(view_.memory(), *now, stopped));
  watched.places.insert(accounts({&*now, 1}).front().at);
  freeze.release();
  if (watched.looks.size() < kEnough) return;
  Polling so_far = watched.polling;
  count_looks(watched.looks, watched.places, kind_of_, so_far);
  watched.enough = so_far.inside + so_far.outside >= kEnough || watched.looks.size() >= kMost;
}

}  // namespace fiberprof
