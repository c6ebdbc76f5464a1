// SPDX-License-Identifier: BSD-2-Clause
// Recordings on disk: what is written is read back, pprof itself agrees about it, and no damaged file does harm.
#include "profile/profile.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <sstream>

#include "profile/gzip.h"
#include "profile/pprof_format.h"
#include "render/sample_profile.h"

namespace fiberprof {
namespace {

using testing::HasSubstr;

class Profiles : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "fiberprof-profile-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::string put(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }
  static std::string get(const std::string& file) {
    std::ostringstream bytes;
    bytes << std::ifstream(file, std::ios::binary).rdbuf();
    return bytes.str();
  }

  std::string directory_;
};

std::vector<ProfileFrame> stack(const Profile& profile, const Sample& sample) {
  std::vector<ProfileFrame> frames;
  for (const uint32_t index : sample.frames) frames.push_back(profile.frames.at(index));
  return frames;
}

void expect_equal(const Profile& expected, const Profile& actual) {
  EXPECT_EQ(expected.start_unix_ns, actual.start_unix_ns);
  EXPECT_EQ(expected.duration_ns, actual.duration_ns);
  EXPECT_EQ(expected.host, actual.host);
  EXPECT_EQ(expected.kernel, actual.kernel);
  EXPECT_EQ(expected.command, actual.command);
  EXPECT_EQ(expected.target, actual.target);
  EXPECT_EQ(expected.tier, actual.tier);
  EXPECT_EQ(expected.losses, actual.losses);
  EXPECT_EQ(expected.counters, actual.counters);
  ASSERT_EQ(expected.samples.size(), actual.samples.size());
  for (size_t i = 0; i < expected.samples.size(); ++i) {
    SCOPED_TRACE("sample " + std::to_string(i));
    const Sample &a = expected.samples[i], &b = actual.samples[i];
    EXPECT_EQ(a.kind, b.kind);
    EXPECT_EQ(a.reason, b.reason);
    EXPECT_EQ(a.pid, b.pid);
    EXPECT_EQ(a.process, b.process);
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.count, b.count);
    EXPECT_EQ(a.total_ns, b.total_ns);
    EXPECT_EQ(a.max_ns, b.max_ns);
    EXPECT_EQ(stack(expected, a), stack(actual, b));
    std::vector<uint64_t> histogram = a.histogram;  // trailing zeros are not stored
    while (!histogram.empty() && histogram.back() == 0) histogram.pop_back();
    EXPECT_EQ(histogram, b.histogram);
    EXPECT_EQ(a.queued_ns, b.queued_ns);
  }
  ASSERT_EQ(expected.workers.size(), actual.workers.size());
  for (size_t i = 0; i < expected.workers.size(); ++i) {
    const WorkerStats &a = expected.workers[i], &b = actual.workers[i];
    EXPECT_EQ(a.pid, b.pid);
    EXPECT_EQ(a.on_cpu_ns, b.on_cpu_ns);
    EXPECT_EQ(a.off_cpu_ns, b.off_cpu_ns);
    EXPECT_EQ(a.runnable_ns, b.runnable_ns);
    EXPECT_EQ(a.max_runnable_ns, b.max_runnable_ns);
    EXPECT_EQ(a.samples, b.samples);
    EXPECT_EQ(a.fiber_samples, b.fiber_samples);
    EXPECT_EQ(a.runnable, b.runnable);
  }
  ASSERT_EQ(expected.queues.size(), actual.queues.size());
  for (size_t i = 0; i < expected.queues.size(); ++i) {
    const QueueStats &a = expected.queues[i], &b = actual.queues[i];
    EXPECT_EQ(a.pid, b.pid);
    EXPECT_EQ(a.processor, b.processor);
    EXPECT_EQ(a.ticks, b.ticks);
    EXPECT_EQ(a.mean_depth, b.mean_depth);
    EXPECT_EQ(a.max_depth, b.max_depth);
    EXPECT_EQ(a.idle_fraction, b.idle_fraction);
    EXPECT_EQ(a.histogram, b.histogram);
  }
}

TEST_F(Profiles, RoundTrip) {
  const Profile profile = sample_profile();
  const std::string file = path("a.pb.gz");
  ASSERT_TRUE(write_profile(profile, file));
  const Result<Profile> read = read_profile(file);
  ASSERT_TRUE(read) << read.error().message();
  expect_equal(profile, *read);
}

TEST_F(Profiles, EmptyRecordingRoundTrips) {
  ASSERT_TRUE(write_profile(Profile{}, path("a.pb.gz")));
  const Result<Profile> read = read_profile(path("a.pb.gz"));
  ASSERT_TRUE(read) << read.error().message();
  expect_equal(Profile{}, *read);
}

TEST_F(Profiles, HostileNamesRoundTrip) {
  Profile profile = sample_profile();
  profile.frames[2].function = "\x1b[2J<script>&\"'\n\t] } , operator<=>";
  profile.samples[0].name = "}\"],[{";
  profile.target = "pid 1 (\"\\\n)";
  ASSERT_TRUE(write_profile(profile, path("a.pb.gz")));
  const Result<Profile> read = read_profile(path("a.pb.gz"));
  ASSERT_TRUE(read) << read.error().message();
  expect_equal(profile, *read);
}

TEST_F(Profiles, FileIsReplacedWholeAndKeepsNoTemporary) {
  put("a.pb.gz", "old");
  ASSERT_TRUE(write_profile(sample_profile(), path("a.pb.gz")));
  ASSERT_TRUE(read_profile(path("a.pb.gz")));
  size_t files = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory_)) ++files;
  EXPECT_EQ(files, 1U);
}

TEST_F(Profiles, ErrorsNameThePathAndTheCause) {
  const auto error = [](const std::string& file) {
    const Result<Profile> read = read_profile(file);
    return read ? std::string("no error") : read.error().message();
  };
  EXPECT_THAT(error(path("absent")), AllOf(HasSubstr(path("absent")), HasSubstr("No such file")));
  EXPECT_THAT(error(put("text", "hello")), AllOf(HasSubstr(path("text")), HasSubstr("not a gzip file")));
  EXPECT_THAT(error(directory_), HasSubstr("Is a directory"));
  EXPECT_THAT(error(put("zip", gzip("hello, this is no profile"))), HasSubstr(path("zip")));
  EXPECT_THAT(error(put("nothing", gzip(""))), HasSubstr("not a pprof profile"));
  const Result<void> written = write_profile(Profile{}, directory_ + "/no/such/directory");
  ASSERT_FALSE(written);
  EXPECT_THAT(written.error().message(), AllOf(HasSubstr("no/such/directory"), HasSubstr("No such file")));
}

TEST_F(Profiles, BombIsRefusedEarly) {
  const std::string bomb = gzip(std::string(64U << 20, '\0'));
  const Result<std::string> plain = gunzip(bomb, 1U << 20);
  ASSERT_FALSE(plain);
  EXPECT_THAT(plain.error().message(), HasSubstr("more than 1 MiB"));
  const Result<std::string> fits = gunzip(bomb, 64U << 20);
  ASSERT_TRUE(fits);
  EXPECT_EQ(fits->size(), 64U << 20);
}

TEST_F(Profiles, EveryTruncationEndsInAnErrorOrAProfile) {
  const std::string plain = pprof::encode(sample_profile());
  size_t refused = 0;
  for (size_t length = 0; length < plain.size(); ++length) {
    if (!pprof::decode(std::string_view(plain).substr(0, length))) ++refused;
  }
  EXPECT_GT(refused, plain.size() / 2);
  const std::string packed = gzip(plain);
  for (size_t length = 0; length < packed.size(); ++length) {
    ASSERT_FALSE(gunzip(std::string_view(packed).substr(0, length), 1U << 20)) << length;
  }
}

TEST_F(Profiles, FlippedBitsNeverCrash) {
  const std::string plain = pprof::encode(sample_profile());
  size_t refused = 0;
  for (size_t bit = 0; bit < plain.size() * 8; ++bit) {
    std::string damaged = plain;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    const Result<Profile> read = pprof::decode(damaged);
    if (!read) {
      ++refused;
      EXPECT_FALSE(read.error().why.empty());
      continue;
    }
    for (const Sample& sample : read->samples) {
      for (const uint32_t index : sample.frames) ASSERT_LT(index, read->frames.size());
    }
  }
  EXPECT_GT(refused, 0U);
}

TEST_F(Profiles, RandomBytesNeverCrash) {
  std::mt19937 random(1);
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes(random() % 200, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const Result<Profile> read = pprof::decode(bytes);
    EXPECT_TRUE(read || !read.error().why.empty());
  }
}

std::string run(const std::string& command) {
  std::string output;
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen((command + " 2>&1").c_str(), "r"), pclose);
  char step[4096];
  while (pipe && fgets(step, sizeof step, pipe.get()) != nullptr) output += step;
  return output;
}

// The numbers pprof itself prints are the ones that were written.
TEST_F(Profiles, GoToolPprofAgrees) {
  if (run("go tool pprof -h").find("usage") == std::string::npos) GTEST_SKIP() << "no `go tool pprof` here";
  const std::string file = path("a.pb.gz");
  ASSERT_TRUE(write_profile(sample_profile(), file));
  const auto top = [&](const std::string& options) { return run("go tool pprof -top " + options + " " + file); };
  // blocked: 50 s + 10 s + 3 s still open; an idle worker's 100 s is not in it.
  const std::string blocked = top("-sample_index=blocked -cum");
  EXPECT_THAT(blocked, HasSubstr("Type: blocked"));
  EXPECT_THAT(blocked, HasSubstr("of 63s total"));
  EXPECT_THAT(blocked, HasSubstr("kvd::Log::run"));
  EXPECT_THAT(blocked, HasSubstr("fiberprof: waits of fibers, pid 12 (kvd) on testhost, exact, 3 events lost"));
  EXPECT_THAT(blocked, Not(HasSubstr("#fiberprof")));
  EXPECT_THAT(top(""), HasSubstr("Type: blocked"));  // the default type
  EXPECT_THAT(top("-sample_index=waits"), HasSubstr("of 5402 total"));
  EXPECT_THAT(top("-sample_index=queued"), HasSubstr("of 1s total"));
  EXPECT_THAT(top("-sample_index=off-cpu"), HasSubstr("of 600ms total"));
  EXPECT_THAT(top("-sample_index=idle"), HasSubstr("of 100s total"));
  EXPECT_THAT(top("-tagfocus=kind=blocked"), HasSubstr("60s, 95.24% of 63s total"));
  // The inlined frame is there and has its line.
  EXPECT_THAT(run("go tool pprof -top -lines -cum " + file), HasSubstr("log.cpp:42 (inline)"));
}

}  // namespace
}  // namespace fiberprof
