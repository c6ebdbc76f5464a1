// SPDX-License-Identifier: BSD-2-Clause
// External references come and go in any order. What tools make of them is in tests/goker/healthy/hidden.cpp.
#include <fiber/external_ref.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>
#include <vector>

namespace {

void come_and_go(unsigned seed) {
  std::mt19937 random(seed);
  std::vector<int> targets(200);
  for (int round = 0; round < 20; ++round) {
    std::vector<fiber::ExternalRef> refs;
    for (const int& target : targets) refs.emplace_back(&target);
    std::shuffle(refs.begin(), refs.end(), random);
    refs.resize(refs.size() / 2);
    for (fiber::ExternalRef& ref : refs) ref = fiber::ExternalRef(&targets[random() % targets.size()]);
    refs.front() = std::move(refs.back());
    refs.back() = {};
  }
}

TEST(ExternalRef, ComeAndGoInAnyOrderOnManyThreads) {
  std::vector<std::thread> threads;
  for (unsigned seed = 1; seed <= 4; ++seed) threads.emplace_back(come_and_go, seed);
  for (std::thread& thread : threads) thread.join();
}

TEST(ExternalRef, OfNothingIsNone) {
  const fiber::ExternalRef none(nullptr), nil_sender{fiber::Sender<int>()}, nil_receiver{fiber::Receiver<int>()};
}

TEST(ExternalRef, MayOutliveWhatItNames) {
  fiber::ExternalRef sender, receiver, channel;
  {
    const fiber::Channel<int> made(1);
    sender = fiber::ExternalRef(made.sender());
    receiver = fiber::ExternalRef(made.receiver());
    channel = fiber::ExternalRef(made);
  }
}

}  // namespace
