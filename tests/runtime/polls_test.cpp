// SPDX-License-Identifier: BSD-2-Clause
// What a fiber's record says about polls that moved nothing, as an outside reader sees it.
#include <fiber/all.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "observe.h"

using namespace std::chrono_literals;

namespace {

std::uint64_t my_slot() {
  const auto all = observe::fibers();
  return *std::find_if(all.begin(), all.end(),
                       [](std::uint64_t fiber) { return OBSERVE(fiber, fiber, id) == fiber::current_id(); });
}

// How many the calling fiber's record counts; none where it is about another one.
std::uint64_t counted() {
  const std::uint64_t self = my_slot();
  return OBSERVE(self, fiber, polls_of) == fiber::current_id() ? OBSERVE(self, fiber, polls) : 0;
}

void poll_all_ways(fiber::Channel<int>& empty, fiber::Channel<int>& full) {
  EXPECT_FALSE(empty.try_receive());
  EXPECT_FALSE(full.try_send(1));
  const std::size_t arm = fiber::select(fiber::on_receive(empty, [](std::optional<int>) {}),
                                        fiber::on_send(full, 1, [] {}), fiber::otherwise([] {}));
  EXPECT_EQ(arm, 2u);
}

TEST(Polls, ThoseThatMoveNothingAreCounted) {
  fiber::run([] {
    fiber::Channel<int> empty, full;
    EXPECT_EQ(counted(), 0u);
    poll_all_ways(empty, full);
    EXPECT_EQ(counted(), 3u);
    poll_all_ways(empty, full);
    EXPECT_EQ(counted(), 6u);
    const std::uint64_t self = my_slot();
    EXPECT_NE(OBSERVE(self, fiber, polls_at), 0u);
    EXPECT_NE(OBSERVE(self, fiber, polls_since), 0u);
    fiber::yield();
    poll_all_ways(empty, full);
    EXPECT_EQ(counted(), 9u) << "a fiber that yields does not wait";
  });
}

TEST(Polls, AClosedChannelMovesNothing) {
  fiber::run([] {
    fiber::Channel<int> channel;
    channel.close();
    EXPECT_FALSE(channel.try_receive());
    fiber::select(fiber::on_receive(channel, [](std::optional<int> value) { EXPECT_FALSE(value); }),
                  fiber::otherwise([] { FAIL(); }));
    EXPECT_EQ(counted(), 2u);
  });
}

TEST(Polls, OneThatMovesAValueBeginsAnew) {
  fiber::run([] {
    fiber::Channel<int> empty, full, buffer(1);
    const auto after = [&](auto move) {
      poll_all_ways(empty, full);
      EXPECT_EQ(counted(), 3u);
      move();
      EXPECT_EQ(counted(), 0u);
    };
    after([&] { EXPECT_TRUE(buffer.try_send(1)); });
    after([&] { EXPECT_TRUE(buffer.try_receive()); });
    after([&] { fiber::select(fiber::on_send(buffer, 2, [] {}), fiber::otherwise([] { FAIL(); })); });
    after([&] {
      fiber::select(fiber::on_receive(buffer, [](std::optional<int> value) { EXPECT_EQ(value, 2); }),
                    fiber::otherwise([] { FAIL(); }));
    });
  });
}

TEST(Polls, AWaitBeginsAnew) {
  fiber::run([] {
    fiber::Channel<int> empty, full;
    poll_all_ways(empty, full);
    const std::uint64_t since = OBSERVE(my_slot(), fiber, polls_since);
    while (__atomic_load_n(&fiberprof_registry.clock_ns, __ATOMIC_RELAXED) == since) fiber::sleep_for(1ms);
    EXPECT_FALSE(empty.try_receive());
    EXPECT_EQ(counted(), 1u);
    EXPECT_GT(OBSERVE(my_slot(), fiber, polls_since), since);
  });
}

TEST(Polls, TheNextFiberOfASlotInheritsNone) {
  fiber::run(fiber::Options{.processors = 1}, [] {
    std::uint64_t slots[2] = {};
    for (std::uint64_t& slot : slots) {
      fiber::spawn([&] {
        slot = my_slot();
        EXPECT_EQ(counted(), 0u);
        fiber::Channel<int> empty, full;
        poll_all_ways(empty, full);
        EXPECT_EQ(counted(), 3u);
      }).join();
    }
    EXPECT_EQ(slots[0], slots[1]) << "else this shows nothing";
  });
}

TEST(Polls, AThreadHasNoAccount) {
  fiber::Channel<int> empty;
  EXPECT_FALSE(empty.try_receive());
}

}  // namespace
