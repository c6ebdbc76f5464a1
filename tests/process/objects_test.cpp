// SPDX-License-Identifier: BSD-2-Clause
#include "process/objects.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "process/fixtures/hand_registry.h"

namespace fiberprof {
namespace {

using fixture::address;

class Objects : public ::testing::Test {
 protected:
  void SetUp() override {
    fixture::fill(registry, store, 3, 64);
    auto opened = RegistryView::open(static_cast<uint32_t>(getpid()), address(&registry));
    ASSERT_TRUE(opened) << opened.error().message();
    view = std::move(*opened);
  }
  fiberprof_fiber& slot(size_t index) { return store.slabs[0][index]; }
  std::vector<FiberInfo> fibers() {
    std::vector<FiberInfo> all;
    EXPECT_TRUE(view->fibers([&](const FiberInfo& fiber) { all.push_back(fiber); }, UINT64_MAX));
    return all;
  }
  fiberprof_registry registry{};
  fixture::Store store;
  std::unique_ptr<RegistryView> view;
};

TEST_F(Objects, AChannelIsReadWhole) {
  const char name[] = "orders";
  fiberprof_channel channel{};
  channel.object.kind = FIBERPROF_OBJECT_CHANNEL;
  channel.object.name = address(name);
  channel.length = 3;
  channel.capacity = 4;
  channel.closed = 1;
  channel.timers = 2;
  channel.send_rights = 5;
  channel.receive_rights = 6;
  channel.creator_pc = 0x1234;
  ObjectReader reader(*view);
  const auto info = reader.read(address(&channel), FIBERPROF_OBJECT_CHANNEL);
  ASSERT_TRUE(info);
  EXPECT_EQ(info->name, "orders");
  EXPECT_EQ(info->length, 3u);
  EXPECT_EQ(info->capacity, 4u);
  EXPECT_TRUE(info->closed);
  EXPECT_EQ(info->timers, 2u);
  EXPECT_EQ(info->send_rights, 5u);
  EXPECT_EQ(info->receive_rights, 6u);
  EXPECT_EQ(info->creator_pc, 0x1234u);
  EXPECT_EQ(reader.read(address(&channel), 0), info) << "of any kind is of that kind";
  EXPECT_FALSE(reader.read(address(&channel), FIBERPROF_OBJECT_MUTEX));
  EXPECT_FALSE(reader.read(0x10, FIBERPROF_OBJECT_CHANNEL)) << "no memory there";
}

TEST_F(Objects, AQueueIsReadInOrderAndALoopEnds) {
  fiberprof_waiter first{}, second{}, third{};
  first.fiber = address(&slot(0));
  second.fiber = address(&slot(1));
  third.thread = FIBERPROF_OWNER_THREAD | 77;
  first.next = address(&second);
  second.next = address(&third);
  ObjectReader reader(*view);
  bool complete = false;
  const auto queue = reader.waiters(address(&first), 100, &complete);
  ASSERT_EQ(queue.size(), 3u);
  EXPECT_TRUE(complete);
  EXPECT_EQ(queue[1].fiber, address(&slot(1)));
  EXPECT_EQ(queue[2].thread, FIBERPROF_OWNER_THREAD | 77);
  EXPECT_EQ(reader.waiters(address(&first), 2, &complete).size(), 2u);
  EXPECT_FALSE(complete);
  third.next = address(&first);
  EXPECT_EQ(reader.waiters(address(&first), 100, &complete).size(), 3u);
  EXPECT_FALSE(complete) << "a queue that returns to itself is no queue";
}

TEST_F(Objects, ASelectHasItsArmsInOrder) {
  fiberprof_arm arms[2] = {{0x1000, FIBERPROF_REASON_CHAN_RECV, 0}, {0x2000, FIBERPROF_REASON_CHAN_SEND, 0}};
  slot(1).reason = FIBERPROF_REASON_SELECT;
  slot(1).arms = address(arms);
  slot(1).arms_len = 2;
  slot(1).deadline = 99;
  slot(1).context = 0x3000;
  slot(2).arms = 0x10;
  slot(2).arms_len = 9;
  const auto all = fibers();
  EXPECT_EQ(all[1].deadline_ns, 99u);
  EXPECT_EQ(all[1].context, 0x3000u);
  const auto read = view->arms(all[1]);
  ASSERT_EQ(read.size(), 2u);
  EXPECT_EQ(read[0].resource, 0x1000u);
  EXPECT_EQ(read[1].reason, uint32_t{FIBERPROF_REASON_CHAN_SEND});
  EXPECT_TRUE(view->arms(all[0]).empty());
  EXPECT_TRUE(view->arms(all[2]).empty()) << "they are nowhere";
}

TEST_F(Objects, AFiberThatIsAnotherNowIsNotTheSameAgain) {
  const auto all = fibers();
  ASSERT_TRUE(view->again(all[0]));
  slot(0).switches += 5;
  EXPECT_EQ(view->again(all[0])->switches, all[0].switches + 5);
  fixture::become(slot(0), 17);
  EXPECT_FALSE(view->again(all[0]));
  slot(1).state = FIBERPROF_FIBER_DEAD;
  EXPECT_FALSE(view->again(all[1]));
}

}  // namespace
}  // namespace fiberprof
