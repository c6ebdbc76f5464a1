// SPDX-License-Identifier: BSD-2-Clause
// Merging keeps every sum, whatever the order, and keeps apart what differs in more than its amounts.
#include "profile/merge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fiberprof {
namespace {

using testing::ElementsAre;

Sample wait(std::vector<uint32_t> frames, uint64_t total_ns) {
  Sample sample;
  sample.kind = SampleKind::blocked;
  sample.reason = "mutex";
  sample.pid = 12;
  sample.process = "kvd";
  sample.name = "worker";
  sample.frames = std::move(frames);
  sample.count = 2;
  sample.total_ns = total_ns;
  sample.queued_ns = total_ns / 10;
  sample.max_ns = total_ns - 1;
  sample.variance_ns2 = 9;
  sample.count_variance = 4;
  sample.histogram = {0, 2};
  return sample;
}

TEST(Merge, SamplesThatDifferInAmountsOnlyAreOne) {
  Sample second = wait({1, 2}, 500);
  second.variance_ns2 = 16;
  second.count_variance = 1;
  second.histogram = {1, 0, 1};
  std::vector<Sample> samples = {wait({1, 2}, 100), wait({1, 3}, 100), second};
  merge_samples(samples);
  ASSERT_EQ(samples.size(), 2u);
  const Sample& merged = samples[0];
  EXPECT_THAT(merged.frames, ElementsAre(1, 2)) << "the order is that of those that come first";
  EXPECT_EQ(merged.count, 4u);
  EXPECT_EQ(merged.total_ns, 600u);
  EXPECT_EQ(merged.queued_ns, 60u);
  EXPECT_EQ(merged.max_ns, 499u);
  EXPECT_EQ(merged.variance_ns2, 25);
  EXPECT_EQ(merged.count_variance, 5);
  EXPECT_THAT(merged.histogram, ElementsAre(1, 2, 1));
  EXPECT_EQ(samples[1], wait({1, 3}, 100));
}

TEST(Merge, WhatTellsSamplesApartStays) {
  const auto with = [](auto change) {
    Sample sample = wait({1, 2}, 100);
    change(sample);
    return sample;
  };
  std::vector<Sample> samples = {
      wait({1, 2}, 100),
      with([](Sample& sample) { sample.kind = SampleKind::open; }),
      with([](Sample& sample) { sample.reason = "sleep"; }),
      with([](Sample& sample) { sample.pid = 13; }),
      with([](Sample& sample) { sample.process = "other"; }),
      with([](Sample& sample) { sample.name = "reader"; }),
      with([](Sample& sample) { sample.frames.push_back(3); }),
      with([](Sample& sample) { sample.chain = 1; }),
  };
  const std::vector<Sample> before = samples;
  merge_samples(samples);
  EXPECT_EQ(samples, before);
}

// Names that only read alike when they are put together: the hash is of their sum, equality is not.
TEST(Merge, EqualHashesAreNotEqualSamples) {
  Sample a = wait({}, 100), b = wait({}, 100);
  a.process = std::string("x\0y", 3);
  a.name = "z";
  b.process = "x";
  b.name = std::string("y\0z", 3);
  std::vector<Sample> samples = {a, b, a};
  merge_samples(samples);
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].total_ns, 200u);
  EXPECT_EQ(samples[1], b);
}

// As a recording of short-lived processes does it: again and again, on what has been merged before.
TEST(Merge, AgainAndAgainIsTheSameAsAtOnce) {
  std::vector<Sample> at_once, steps;
  for (uint32_t i = 0; i < 1000; ++i) {
    const Sample sample = wait({i % 7, i % 3}, 100 + i);
    at_once.push_back(sample);
    steps.push_back(sample);
    if (i % 50 == 49) merge_samples(steps);
  }
  merge_samples(at_once);
  EXPECT_EQ(at_once.size(), 21u);
  EXPECT_EQ(steps, at_once);
  uint64_t total = 0;
  for (const Sample& sample : steps) total += sample.total_ns;
  EXPECT_EQ(total, 1000u * 100 + 999u * 1000 / 2);
}

TEST(Merge, QueuedTimeIsSummedBySite) {
  std::vector<QueuedSite> queued = {{1, "a", "f", 5}, {1, "a", "g", 7}, {2, "a", "f", 9}, {1, "a", "f", 11}};
  merge_queued(queued);
  ASSERT_EQ(queued.size(), 3u);
  EXPECT_EQ(queued[0].total_ns, 16u);
  EXPECT_EQ(queued[1].site, "g");
  EXPECT_EQ(queued[2].pid, 2u);
}

TEST(Merge, WorkersAreSummedByProcess) {
  WorkerStats one;
  one.pid = 0;  // of processes without number: too many have ended
  one.on_cpu_ns = 1;
  one.off_cpu_ns = 2;
  one.runnable_ns = 3;
  one.max_runnable_ns = 40;
  one.samples = 5;
  one.fiber_samples = 4;
  one.runnable = {1, 1};
  WorkerStats other = one;
  other.max_runnable_ns = 30;
  other.runnable = {0, 0, 2};
  WorkerStats apart = one;
  apart.pid = 7;
  std::vector<WorkerStats> workers = {one, apart, other};
  merge_workers(workers);
  ASSERT_EQ(workers.size(), 2u);
  EXPECT_EQ(workers[0].on_cpu_ns, 2u);
  EXPECT_EQ(workers[0].off_cpu_ns, 4u);
  EXPECT_EQ(workers[0].runnable_ns, 6u);
  EXPECT_EQ(workers[0].max_runnable_ns, 40u);
  EXPECT_EQ(workers[0].samples, 10u);
  EXPECT_EQ(workers[0].fiber_samples, 8u);
  EXPECT_THAT(workers[0].runnable, ElementsAre(1, 1, 2));
  EXPECT_EQ(workers[1].pid, 7u);
}

}  // namespace
}  // namespace fiberprof
