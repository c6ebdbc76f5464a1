// SPDX-License-Identifier: BSD-2-Clause
#include "process/registry_view.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <set>

#include "process/child.h"
#include "process/fixtures/hand_registry.h"
#include "process/target.h"

namespace fiberprof {
namespace {

using test::Child;
using test::fixture_path;

uint32_t self() { return static_cast<uint32_t>(getpid()); }

class OwnRegistry : public ::testing::Test {
 protected:
  void fill(uint32_t fibers, uint32_t per_slab = 64) { fixture::fill(registry, store, fibers, per_slab); }
  Result<std::unique_ptr<RegistryView>> open() { return RegistryView::open(self(), fixture::address(&registry)); }
  std::vector<FiberInfo> all() {
    std::vector<FiberInfo> found;
    auto view = open();
    if (!view) return found;
    const auto torn = (*view)->fibers([&](const FiberInfo& fiber) { found.push_back(fiber); }, UINT64_MAX);
    EXPECT_TRUE(torn) << torn.error().message();
    return found;
  }
  fiberprof_registry registry{};
  fixture::Store store;
};

TEST_F(OwnRegistry, ReadsEveryFieldOfEveryFiber) {
  fill(1000);
  const auto fibers = all();
  ASSERT_EQ(fibers.size(), 1000u);
  std::set<uint64_t> ids;
  for (const FiberInfo& fiber : fibers) {
    ids.insert(fiber.id);
    EXPECT_EQ(fiber.resource, fiber.id * 3);
    EXPECT_EQ(fiber.entry, fiber.id * 5);
    EXPECT_EQ(fiber.creator_pc, fiber.id * 7);
    EXPECT_EQ(fiber.parent, fiber.id * 11);
    EXPECT_EQ(fiber.state, FIBERPROF_FIBER_PARKED);
    EXPECT_EQ(fiber.reason, 1 + fiber.id % 13);
    EXPECT_EQ(fiber.name, "fiber " + std::to_string(fiber.id));
  }
  EXPECT_EQ(ids.size(), 1000u);
  EXPECT_EQ(*ids.begin(), 1u);
  EXPECT_EQ(*ids.rbegin(), 1000u);
}

TEST_F(OwnRegistry, SummaryHasProcessorsAndWorkers) {
  fill(3);
  auto view = open();
  ASSERT_TRUE(view) << view.error().message();
  const auto summary = (*view)->summary();
  ASSERT_TRUE(summary) << summary.error().message();
  EXPECT_EQ(summary->fibers_created, 3u);
  EXPECT_EQ(summary->global_queue_depth, 5u);
  EXPECT_EQ(summary->clock_ns, 123'456u);
  ASSERT_EQ(summary->processors.size(), 2u);
  EXPECT_EQ(summary->processors[1].index, 1u);
  EXPECT_EQ(summary->processors[1].queue_depth, 11u);
  ASSERT_EQ(summary->processors[1].parks.size(), size_t{FIBERPROF_REASON_COUNT});
  EXPECT_EQ(summary->processors[1].parks[FIBERPROF_REASON_MUTEX], 41u);
  ASSERT_EQ(summary->workers.size(), 2u) << "the unused slot is not a worker";
  EXPECT_EQ(summary->workers[1].tid, 101u);
  EXPECT_EQ(summary->workers[1].record, fixture::address(&store.workers[1]));
}

TEST_F(OwnRegistry, TheEntryOfAWorkersFiberIsInItsOwnRecordOrInTheFibers) {
  fill(3);
  for (auto& worker : store.workers) worker.current_fiber = 2;
  store.workers[0].fiber_entry = 4711;
  store.workers[0].fiber = fixture::address(&store.slabs[0][1]);
  store.workers[1].fiber = 8;  // no memory
  const auto entries = [&] {
    const auto view = open();
    const auto summary = (*view)->summary();
    return std::vector<uint64_t>{summary->workers.at(0).fiber_entry, summary->workers.at(1).fiber_entry};
  };
  registry.fields[FIBERPROF_FIELD_worker_fiber].size = 0;
  EXPECT_EQ(entries(), (std::vector<uint64_t>{4711, 0})) << "as before there was a field `fiber`";
  registry.fields[FIBERPROF_FIELD_worker_fiber].size = 8;
  registry.fields[FIBERPROF_FIELD_worker_fiber_entry].size = 0;
  EXPECT_EQ(entries(), (std::vector<uint64_t>{2 * 5, 0})) << "fibers have an entry of five times their id";
}

TEST_F(OwnRegistry, SkipsFreeAndDeadSlotsAndStopsAtTheLimit) {
  fill(10);
  store.slabs[0][2].state = FIBERPROF_FIBER_FREE;
  store.slabs[0][3].state = FIBERPROF_FIBER_DEAD;
  store.slabs[0][4].id = 0;
  store.slabs[0][5].state = 77;
  EXPECT_EQ(all().size(), 6u);
  auto view = open();
  ASSERT_TRUE(view);
  uint64_t seen = 0;
  EXPECT_TRUE((*view)->fibers([&](const FiberInfo&) { ++seen; }, 4));
  EXPECT_EQ(seen, 4u);
}

TEST_F(OwnRegistry, AGlanceSeesTheSameFibers) {
  fill(10);
  store.slabs[0][2].state = FIBERPROF_FIBER_FREE;
  store.slabs[0][4].sequence |= 1;
  for (size_t i = 5; i < 8; ++i) store.slabs[0][i].deadline = 1000 + i;
  auto view = open();
  ASSERT_TRUE(view);
  std::vector<FiberInfo> whole;
  std::vector<FiberGlance> glances;
  const auto torn = (*view)->fibers([&](const FiberInfo& fiber) { whole.push_back(fiber); }, UINT64_MAX);
  const auto rewritten = (*view)->glance([&](const FiberGlance& fiber) { glances.push_back(fiber); }, UINT64_MAX);
  ASSERT_TRUE(torn);
  ASSERT_TRUE(rewritten);
  EXPECT_EQ(*torn, 1u);
  EXPECT_EQ(*rewritten, 1u);
  ASSERT_EQ(glances.size(), 8u);
  ASSERT_EQ(whole.size(), 8u);
  for (size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(glances[i].state, whole[i].state);
    EXPECT_EQ(glances[i].since_ns, whole[i].since_ns);
    EXPECT_EQ(glances[i].entry, whole[i].entry);
    EXPECT_EQ(glances[i].deadline_ns, whole[i].deadline_ns);
    if (whole[i].state == FIBERPROF_FIBER_PARKED) {
      EXPECT_EQ(glances[i].reason, whole[i].reason);
    }
  }
  uint64_t seen = 0;
  EXPECT_TRUE((*view)->glance([&](const FiberGlance&) { ++seen; }, 4));
  EXPECT_EQ(seen, 4u);
}

TEST_F(OwnRegistry, CountsASlotThatIsBeingRewrittenAsTorn) {
  fill(10);
  store.slabs[0][7].sequence = 5;
  auto view = open();
  ASSERT_TRUE(view);
  uint64_t seen = 0;
  const auto torn = (*view)->fibers([&](const FiberInfo&) { ++seen; }, UINT64_MAX);
  ASSERT_TRUE(torn);
  EXPECT_EQ(*torn, 1u);
  EXPECT_EQ(seen, 9u);
}

// A runtime built against another version of the header: structures larger, fields elsewhere, some missing.
TEST_F(OwnRegistry, FollowsTheDescribedLayout) {
  struct Newer {
    char something[24];
    fiberprof_fiber fiber;
    char more[40];
  };
  fill(2);
  std::vector<Newer> slots(2);
  for (size_t i = 0; i < slots.size(); ++i) slots[i].fiber = store.slabs[0][i];
  store.slab_addresses[0] = fixture::address(slots.data());
  registry.fibers_per_slab = 2;
  registry.fiber_size = sizeof(Newer);
  for (int i = FIBERPROF_FIELD_fiber_id; i <= FIBERPROF_FIELD_fiber_name; ++i)
    registry.fields[i].offset = static_cast<uint16_t>(registry.fields[i].offset + 24);
  registry.fields[FIBERPROF_FIELD_fiber_parent].size = 0;
  const auto fibers = all();
  ASSERT_EQ(fibers.size(), 2u);
  EXPECT_EQ(fibers[1].id, 2u);
  EXPECT_EQ(fibers[1].entry, 10u);
  EXPECT_EQ(fibers[1].name, "fiber 2");
  EXPECT_EQ(fibers[1].parent, 0u) << "a field that is not there reads as 0";
}

class Stacks : public OwnRegistry {
 protected:
  // A fiber whose stack holds `frames` frame records with return addresses 1000, 1001, …
  void make(size_t frames) {
    fill(1);
    words.assign(frames * 4, 0);
    for (size_t i = 0; i < frames; ++i) {
      words[i * 4] = i + 1 < frames ? fixture::address(&words[(i + 1) * 4]) : 0;
      words[i * 4 + 1] = 1000 + i;
    }
    fiber().sp = fiber().stack_low = fixture::address(words.data());
    fiber().stack_high = fiber().stack_low + words.size() * 8;
  }
  fiberprof_fiber& fiber() { return store.slabs[0][0]; }
  std::vector<uint64_t> walk(size_t limit = 128) {
    auto view = open();
    std::vector<uint64_t> stack;
    if (!view) return stack;
    EXPECT_TRUE((*view)->fibers([&](const FiberInfo& info) { stack = (*view)->stack(info, limit); }, 1));
    return stack;
  }
  std::vector<uint64_t> words;
};

TEST_F(Stacks, AreWalkedToTheirEnd) {
  make(100);
  const auto stack = walk();
  ASSERT_EQ(stack.size(), 100u);
  for (size_t i = 0; i < 100; ++i) EXPECT_EQ(stack[i], 1000 + i);
  EXPECT_EQ(walk(7).size(), 7u);
}

TEST_F(Stacks, LargeFramesSpanningManyBlocksAreWalked) {
  fill(1);
  constexpr size_t kStep = 9000 / 8;
  words.assign(kStep * 20, 0);
  for (size_t i = 0; i < 20; ++i) {
    words[i * kStep] = i < 19 ? fixture::address(&words[(i + 1) * kStep]) : 0;
    words[i * kStep + 1] = 1 + i;
  }
  fiber().sp = fiber().stack_low = fixture::address(words.data());
  fiber().stack_high = fiber().stack_low + words.size() * 8;
  EXPECT_EQ(walk().size(), 20u);
}

TEST_F(Stacks, ThatLieEndTheWalk) {
  make(10);
  words[5 * 4] = fixture::address(&words[3 * 4]);  // a cycle
  EXPECT_EQ(walk().size(), 6u);
  make(10);
  words[5 * 4] = fixture::address(&words[5 * 4]);  // to itself
  EXPECT_EQ(walk().size(), 6u);
  make(10);
  words[5 * 4] = fiber().stack_high + 64;  // outside
  EXPECT_EQ(walk().size(), 6u);
  make(10);
  words[5 * 4] = fiber().stack_high - 8;  // no room for a record
  EXPECT_EQ(walk().size(), 6u);
  make(10);
  words[5 * 4] += 4;  // misaligned
  EXPECT_EQ(walk().size(), 6u);
  make(10);
  words[5 * 4 + 1] = 0;  // no return address
  EXPECT_EQ(walk().size(), 5u);
  make(10);
  fiber().sp = 1;
  EXPECT_TRUE(walk().empty());
  make(10);
  fiber().stack_low = 0;
  fiber().stack_high = UINT64_MAX;
  EXPECT_TRUE(walk().empty()) << "no stack is that large";
}

TEST_F(Stacks, OfARunningFiberAreNotWalked) {
  make(10);
  fiber().state = FIBERPROF_FIBER_RUNNING;
  EXPECT_TRUE(walk().empty());
}

TEST_F(Stacks, OfAFiberThatRanMeanwhileAreDropped) {
  make(10);
  auto view = open();
  ASSERT_TRUE(view);
  FiberInfo info;
  ASSERT_TRUE((*view)->fibers([&](const FiberInfo& fiber_info) { info = fiber_info; }, 1));
  EXPECT_EQ((*view)->stack(info).size(), 10u);
  ++fiber().switches;
  EXPECT_TRUE((*view)->stack(info).empty());
}

TEST_F(OwnRegistry, RefusesWhatIsNoRegistryWithAReason) {
  const auto why = [&] {
    const auto view = open();
    return view ? std::string("opened") : view.error().message();
  };
  EXPECT_NE(why().find("has not started yet"), std::string::npos);
  fill(1);
  EXPECT_EQ(why(), "opened");
  registry.magic[3] ^= 1;
  EXPECT_NE(why().find("not one"), std::string::npos);
  fill(1);
  registry.version = 9;
  EXPECT_NE(why().find("version 9"), std::string::npos);
  fill(1);
  registry.fields[FIBERPROF_FIELD_fiber_name].offset = sizeof(fiberprof_fiber) - FIBERPROF_NAME_SIZE + 1;
  EXPECT_NE(why().find("outside its structure"), std::string::npos);
  fill(1);
  registry.fiber_size = 1 << 30;
  EXPECT_NE(why().find("impossible sizes"), std::string::npos);
  fill(1);
  registry.fiber_slab_count = UINT32_MAX;
  EXPECT_NE(why().find("impossible numbers"), std::string::npos);
}

TEST(RegistryView, WildAddressIsAnError) {
  for (const uint64_t address : {uint64_t{0}, uint64_t{16}, UINT64_MAX - 8, uint64_t{1} << 47, uint64_t{1} << 63}) {
    const auto view = RegistryView::open(self(), address);
    ASSERT_FALSE(view);
    EXPECT_NE(view.error().message().find("outside its memory"), std::string::npos) << view.error().message();
  }
}

// The process may write anything anywhere, at any time. Whatever it writes, reading ends and stays within bounds.
TEST_F(OwnRegistry, RandomLiesNeverCrashNorHang) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 3000; ++round) {
    store = {};
    registry = {};
    fill(130);
    const auto corrupt = [&](void* where, size_t size, int flips) {
      for (int i = 0; i < flips; ++i) static_cast<uint8_t*>(where)[random() % size] = static_cast<uint8_t>(random());
    };
    // Behind the magic and the version, or nothing else would be reached.
    const size_t head = offsetof(fiberprof_registry, header_size);
    if (round % 2 == 0) corrupt(reinterpret_cast<char*>(&registry) + head, sizeof registry - head, 1 + round % 4);
    corrupt(store.slabs[1].get(), 64 * sizeof(fiberprof_fiber), 20);
    if (round % 3 == 0) corrupt(store.slab_addresses.data(), store.slab_addresses.size() * 8, 1);
    if (round % 5 == 0) corrupt(store.processor_addresses.data(), 16, 2);
    auto view = open();
    if (!view) continue;
    (void)(*view)->summary();
    uint64_t seen = 0;
    (void)(*view)->fibers(
        [&](const FiberInfo& fiber) {
          ++seen;
          EXPECT_LE((*view)->stack(fiber).size(), 128u);
        },
        1000);
    EXPECT_LE(seen, 1000u);
  }
}

TEST(RegistryOfAnotherProcess, IsFoundAndRead) {
  Child child({fixture_path("fiber_target"), "5000"});
  FiberFinder finder;
  const auto process = finder.find(child.pid());
  ASSERT_TRUE(process) << process.error().message();
  ASSERT_NE(process->registry_address, 0u);
  auto view = RegistryView::open(child.pid(), process->registry_address);
  ASSERT_TRUE(view) << view.error().message();
  uint64_t seen = 0;
  ASSERT_TRUE((*view)->fibers([&](const FiberInfo&) { ++seen; }, UINT64_MAX));
  EXPECT_EQ(seen, 5000u);
  child.kill_now();
  child.end();
  const auto gone = (*view)->summary();
  ASSERT_FALSE(gone);
  EXPECT_NE(gone.error().message().find("it has ended"), std::string::npos) << gone.error().message();
}

// While a thread rewrites all slots without a pause, everything that is reported belongs to one fiber.
TEST(RegistryOfAnotherProcess, IsNeverReportedTorn) {
  Child child({fixture_path("fiber_target"), "2000", "churn"});
  FiberFinder finder;
  const auto process = finder.find(child.pid());
  ASSERT_TRUE(process) << process.error().message();
  auto view = RegistryView::open(child.pid(), process->registry_address);
  ASSERT_TRUE(view) << view.error().message();
  uint64_t seen = 0, torn = 0;
  for (int round = 0; round < 200; ++round) {
    const auto result = (*view)->fibers(
        [&](const FiberInfo& fiber) {
          ++seen;
          ASSERT_EQ(fiber.resource, fiber.id * 3);
          ASSERT_EQ(fiber.entry, fiber.id * 5);
          ASSERT_EQ(fiber.parent, fiber.id * 11);
          ASSERT_EQ(fiber.reason, 1 + fiber.id % 13);
          ASSERT_EQ(fiber.name, "fiber " + std::to_string(fiber.id));
        },
        UINT64_MAX);
    ASSERT_TRUE(result);
    torn += *result;
  }
  EXPECT_EQ(seen + torn, 200u * 2000u);
  EXPECT_GT(seen, 200u * 1000u) << "most slots can be read in spite of the storm";
}

TEST(RegistryOfAnotherProcess, AMillionFibersAreAllRead) {
  Child child({fixture_path("fiber_target"), "1000000"});
  FiberFinder finder;
  const auto process = finder.find(child.pid());
  ASSERT_TRUE(process) << process.error().message();
  auto view = RegistryView::open(child.pid(), process->registry_address);
  ASSERT_TRUE(view) << view.error().message();
  uint64_t seen = 0, ids = 0;
  ASSERT_TRUE((*view)->fibers(
      [&](const FiberInfo& fiber) {
        ++seen;
        ids += fiber.id;
      },
      UINT64_MAX));
  EXPECT_EQ(seen, 1'000'000u);
  EXPECT_EQ(ids, 1'000'000ull * 1'000'001 / 2);
}

}  // namespace
}  // namespace fiberprof
