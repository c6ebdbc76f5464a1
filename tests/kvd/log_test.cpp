// SPDX-License-Identifier: BSD-2-Clause
#include "kvd/log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <limits>
#include <map>
#include <set>

#include "kvd/crc32c.h"
#include "kvd/in_fiber.h"
#include "kvd/temporary_directory.h"

namespace kvd {
namespace {

using testing::HasSubstr;
using Contents = std::map<std::string, std::pair<std::string, Milliseconds>>;

constexpr Milliseconds kFuture = 4'000'000'000'000;

Contents contents(Store& store) {
  Contents all;
  for (std::size_t i = 0; i < store.shards(); ++i) {
    store.lock_shard(i)->for_each(0, [&](std::string_view key, const Entry& entry) {
      all.emplace(std::string(key), std::pair(entry.value, entry.expires));
    });
  }
  return all;
}

struct Opened {
  std::unique_ptr<Log> log;
  std::string error, messages;
};

Opened open_log(const std::string& path, Store& store) {
  Opened opened;
  opened.log = Log::open(path, store, opened.error, [&](const std::string& text) { opened.messages += text + "\n"; });
  return opened;
}

// Changes the store and the log alike, as commands do.
void both(Log& log, Store& store, const Record& record) {
  apply(record, store);
  log.append(record);
}

// What an outsider finds in a file: without opening it for writing.
struct Replayed {
  ReplayResult result;
  Contents contents;
};
Replayed replay_file(const std::string& path) {
  Replayed replayed;
  Store store(2);
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  replayed.result = replay(file.get(), [&](const Record& record) { apply(record, store); });
  replayed.contents = contents(store);
  return replayed;
}

// A log of several groups, and what must be there after each of them.
struct Sample {
  std::string bytes;
  std::vector<std::size_t> ends;  // of the header and of each group
  std::vector<Contents> states;
};

Sample make_sample(const std::string& path) {
  Sample sample;
  Store store(2);
  Opened opened = open_log(path, store);
  EXPECT_NE(opened.log, nullptr) << opened.error;
  Committer committer;
  const auto commit = [&] {
    EXPECT_TRUE(opened.log->commit(committer));
    sample.ends.push_back(opened.log->bytes());
    sample.states.push_back(contents(store));
  };
  sample.ends.push_back(opened.log->bytes());
  sample.states.emplace_back();
  const auto record = [&](const Record& r) { both(*opened.log, store, r); };
  record({.type = RecordType::set, .key = "a", .value = "1"});
  record({.type = RecordType::set, .key = "b", .value = "value of b", .expires = kFuture});
  commit();
  record({.type = RecordType::append, .key = "b", .value = " and more"});
  record({.type = RecordType::erase, .key = "a"});
  record({.type = RecordType::set, .key = std::string_view("c\0\r\n", 4), .value = ""});
  commit();
  record({.type = RecordType::expire, .key = "b", .expires = kNever});
  commit();
  record({.type = RecordType::clear});
  record({.type = RecordType::set, .key = "last", .value = "!GRP!GRP"});
  commit();
  opened.log->close();
  sample.bytes = read_file(path);
  EXPECT_EQ(sample.bytes.size(), sample.ends.back());
  return sample;
}

TEST(Crc32c, KnownValues) {
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xe3069283u);            // the check value of every catalogue
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  const std::string text = "any text of some length, longer than eight bytes";
  for (std::size_t at = 0; at <= text.size(); ++at) {
    EXPECT_EQ(crc32c(text.substr(at), crc32c(text.substr(0, at))), crc32c(text)) << at;
  }
}

TEST(LogFormat, RecordsComeBack) {
  std::string bytes;
  encode({.type = RecordType::set, .key = "key", .value = "value", .expires = -5}, bytes);
  encode({.type = RecordType::clear}, bytes);
  std::string_view rest = bytes;
  Record record{};
  ASSERT_TRUE(decode(rest, record));
  EXPECT_EQ(record.type, RecordType::set);
  EXPECT_EQ(record.key, "key");
  EXPECT_EQ(record.value, "value");
  EXPECT_EQ(record.expires, -5);
  ASSERT_TRUE(decode(rest, record));
  EXPECT_EQ(record.type, RecordType::clear);
  EXPECT_FALSE(decode(rest, record));
  EXPECT_TRUE(rest.empty());
}

TEST(LogFormat, EveryShortRecordIsRefused) {
  std::string bytes;
  encode({.type = RecordType::append, .key = "key", .value = "value"}, bytes);
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    std::string_view rest(bytes.data(), length);
    Record record{};
    ASSERT_FALSE(decode(rest, record)) << length;
    ASSERT_EQ(rest.size(), length);
  }
  for (const char type : {'\0', '\6', '\xff'}) {
    bytes[0] = type;
    std::string_view rest = bytes;
    Record record{};
    EXPECT_FALSE(decode(rest, record));
  }
}

TEST(Log, IsThereAfterReopening) {
  const TemporaryDirectory directory;
  in_fiber([&] {
    const Sample sample = make_sample(directory.file("log"));
    Store store(3);
    Opened opened = open_log(directory.file("log"), store);
    ASSERT_NE(opened.log, nullptr) << opened.error;
    EXPECT_EQ(contents(store), sample.states.back());
    EXPECT_THAT(opened.messages, HasSubstr("read 8 records"));
    // And goes on where it was.
    Committer committer;
    both(*opened.log, store, {.type = RecordType::set, .key = "more", .value = "data"});
    EXPECT_TRUE(opened.log->commit(committer));
    opened.log->close();
    const Replayed replayed = replay_file(directory.file("log"));
    EXPECT_EQ(replayed.result.error, "");
    EXPECT_EQ(replayed.result.groups, 5u);
    EXPECT_EQ(replayed.contents, contents(store));
  });
}

TEST(Log, TornAtEveryByteLeavesTheWholeGroups) {
  const TemporaryDirectory directory;
  in_fiber([&] {
    const Sample sample = make_sample(directory.file("log"));
    for (std::size_t length = sample.ends[0]; length <= sample.bytes.size(); ++length) {
      write_file(directory.file("torn"), sample.bytes.substr(0, length));
      const Replayed replayed = replay_file(directory.file("torn"));
      std::size_t whole = 0;
      while (whole + 1 < sample.ends.size() && sample.ends[whole + 1] <= length) ++whole;
      ASSERT_EQ(replayed.result.error, "") << length;
      ASSERT_EQ(replayed.result.groups, whole) << length;
      ASSERT_EQ(replayed.result.good_bytes, sample.ends[whole]) << length;
      ASSERT_EQ(replayed.result.torn_bytes, length - sample.ends[whole]) << length;
      ASSERT_EQ(replayed.contents, sample.states[whole]) << length;
    }
  });
}

// A crash may leave the last group with any of its blocks missing, not only short.
TEST(Log, AnyDamageToTheLastGroupDropsExactlyThatGroup) {
  const TemporaryDirectory directory;
  in_fiber([&] {
    const Sample sample = make_sample(directory.file("log"));
    const std::size_t last = sample.ends.size() - 2;
    for (std::size_t at = sample.ends[last]; at < sample.bytes.size(); ++at) {
      std::string bytes = sample.bytes;
      bytes[at] = static_cast<char>(bytes[at] ^ 0x10);
      write_file(directory.file("damaged"), bytes);
      const Replayed replayed = replay_file(directory.file("damaged"));
      ASSERT_EQ(replayed.result.error, "") << at;
      ASSERT_EQ(replayed.result.groups, last) << at;
      ASSERT_EQ(replayed.contents, sample.states[last]) << at;
    }
  });
}

// Acknowledged data follows: cutting there would lose it silently.
TEST(Log, DamageBeforeTheLastGroupIsRefused) {
  const TemporaryDirectory directory;
  in_fiber([&] {
    const Sample sample = make_sample(directory.file("log"));
    for (std::size_t at = 0; at < sample.ends[sample.ends.size() - 2]; ++at) {
      std::string bytes = sample.bytes;
      bytes[at] = static_cast<char>(bytes[at] ^ 0x01);
      write_file(directory.file("damaged"), bytes);
      const Replayed replayed = replay_file(directory.file("damaged"));
      ASSERT_NE(replayed.result.error, "") << at;
    }
  });
}

TEST(Log, OpeningCutsOffATornEndAndSaysSo) {
  const TemporaryDirectory directory;
  in_fiber([&] {
    const Sample sample = make_sample(directory.file("log"));
    const std::size_t good = sample.ends[2];
    write_file(directory.file("torn"), sample.bytes.substr(0, good + 7));
    Store store(1);
    Opened opened = open_log(directory.file("torn"), store);
    ASSERT_NE(opened.log, nullptr) << opened.error;
    EXPECT_THAT(opened.messages, HasSubstr("cut off its last 7 bytes"));
    EXPECT_EQ(read_file(directory.file("torn")).size(), good);
    Committer committer;
    both(*opened.log, store, {.type = RecordType::set, .key = "after", .value = "the crash"});
    EXPECT_TRUE(opened.log->commit(committer));
    opened.log->close();
    EXPECT_EQ(replay_file(directory.file("torn")).contents, contents(store));
  });
}

// A client may store bytes that look like a log. In a torn group they must not pass for good data.
TEST(Log, StoredCopiesOfALogAreNotMistakenForGroups) {
  const TemporaryDirectory directory;
  in_fiber([&] {
    const Sample sample = make_sample(directory.file("log"));
    std::size_t before = 0;
    {
      Store store(1);
      Opened opened = open_log(directory.file("other"), store);
      ASSERT_NE(opened.log, nullptr);
      before = opened.log->bytes();
      Committer committer;
      both(*opened.log, store, {.type = RecordType::set, .key = "copy", .value = sample.bytes});
      EXPECT_TRUE(opened.log->commit(committer));
      opened.log->close();
    }
    const std::string bytes = read_file(directory.file("other"));
    write_file(directory.file("other"), bytes.substr(0, bytes.size() - 1));
    const Replayed replayed = replay_file(directory.file("other"));
    EXPECT_EQ(replayed.result.error, "");
    EXPECT_EQ(replayed.result.good_bytes, before);
  });
}

TEST(Log, ACrashAtItsCreationIsNoObstacle) {
  const TemporaryDirectory directory;
  in_fiber([&] {
    const Sample sample = make_sample(directory.file("log"));
    for (std::size_t length = 0; length < FileHeader::kSize; ++length) {
      write_file(directory.file("young"), sample.bytes.substr(0, length));
      Store store(1);
      Opened opened = open_log(directory.file("young"), store);
      ASSERT_NE(opened.log, nullptr) << length << ": " << opened.error;
      opened.log->close();
      EXPECT_EQ(replay_file(directory.file("young")).result.error, "");
    }
  });
}

TEST(Log, RefusesWhatIsNoLogAndLeavesItAlone) {
  const TemporaryDirectory directory;
  in_fiber([&] {
    for (const std::string text : {"short", "a text file that is certainly longer than any header\n"}) {
      write_file(directory.file("text"), text);
      Store store(1);
      const Opened opened = open_log(directory.file("text"), store);
      EXPECT_EQ(opened.log, nullptr);
      EXPECT_THAT(opened.error, HasSubstr(directory.file("text")));
      EXPECT_EQ(read_file(directory.file("text")), text);
    }
    Store store(1);
    EXPECT_THAT(open_log("/dev/null", store).error, HasSubstr("not a regular file"));
    EXPECT_THAT(open_log(directory.file("no/such/directory"), store).error, HasSubstr("No such file"));
  });
}

TEST(Log, OneServerAtATime) {
  const TemporaryDirectory directory;
  in_fiber([&] {
    Store store(1);
    Opened first = open_log(directory.file("log"), store);
    ASSERT_NE(first.log, nullptr);
    EXPECT_THAT(open_log(directory.file("log"), store).error, HasSubstr("in use by another"));
    first.log->close();
    first.log.reset();
    Opened second = open_log(directory.file("log"), store);
    ASSERT_NE(second.log, nullptr) << second.error;
    second.log->close();
  });
}

TEST(Log, EntriesThatExpiredMeanwhileAreNotLoaded) {
  const TemporaryDirectory directory;
  in_fiber([&] {
    {
      Store store(1);
      Opened opened = open_log(directory.file("log"), store);
      ASSERT_NE(opened.log, nullptr);
      opened.log->append({.type = RecordType::set, .key = "old", .value = "v", .expires = 1});
      opened.log->append({.type = RecordType::set, .key = "saved", .value = "v", .expires = 1});
      opened.log->append({.type = RecordType::expire, .key = "saved", .expires = kFuture});
      opened.log->append({.type = RecordType::set, .key = "new", .value = "v", .expires = kFuture});
      opened.log->close();  // writes what nobody waited for, too
    }
    Store store(1);
    Opened opened = open_log(directory.file("log"), store);
    EXPECT_EQ(contents(store), (Contents{{"saved", {"v", kFuture}}, {"new", {"v", kFuture}}}));
    opened.log->close();
  });
}

TEST(Log, ManyFibersShareSyncs) {
  const TemporaryDirectory directory;
  in_fiber([&] {
    constexpr int kFibers = 50, kWrites = 20;
    Store store(8);
    Opened opened = open_log(directory.file("log"), store);
    ASSERT_NE(opened.log, nullptr);
    fiber::WaitGroup done(kFibers);
    std::atomic<int> refused{0};
    for (int f = 0; f < kFibers; ++f) {
      fiber::go([&, f] {
        Committer committer;
        for (int i = 0; i < kWrites; ++i) {
          const std::string key = std::to_string(f) + ":" + std::to_string(i);
          both(*opened.log, store, {.type = RecordType::set, .key = key, .value = "v"});
          if (!opened.log->commit(committer)) ++refused;
        }
        done.done();
      });
    }
    done.wait();
    EXPECT_EQ(refused.load(), 0);
    // One fiber alone would need a sync for each of its 20 writes; more than one a write would mean no group at all.
    EXPECT_GE(opened.log->groups(), static_cast<std::uint64_t>(kWrites));
    EXPECT_LT(opened.log->groups(), static_cast<std::uint64_t>(kFibers * kWrites));
    opened.log->close();
    const Replayed replayed = replay_file(directory.file("log"));
    EXPECT_EQ(replayed.contents.size(), static_cast<std::size_t>(kFibers * kWrites));
    EXPECT_EQ(replayed.contents, contents(store));
  });
}

// The disk refuses: no commit may succeed from then on, and the failure is told once.
TEST(Log, AFullDiskIsNeverAcknowledged) {
  const TemporaryDirectory directory;
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);  // write() returns EFBIG then
  in_fiber([&] {
    Store store(1);
    Opened opened = open_log(directory.file("log"), store);
    ASSERT_NE(opened.log, nullptr);
    std::vector<std::string> failures;
    opened.log->on_failure([&](const std::string& text) { failures.push_back(text); });
    Committer committer;
    both(*opened.log, store, {.type = RecordType::set, .key = "small", .value = "v"});
    EXPECT_TRUE(opened.log->commit(committer));
    const Contents acknowledged = contents(store);
    const rlimit limit{8192, before.rlim_max};
    ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    both(*opened.log, store, {.type = RecordType::set, .key = "large", .value = std::string(20000, 'x')});
    EXPECT_FALSE(opened.log->commit(committer));
    both(*opened.log, store, {.type = RecordType::set, .key = "small", .value = "w"});
    EXPECT_FALSE(opened.log->commit(committer));
    opened.log->close();
    ::setrlimit(RLIMIT_FSIZE, &before);
    ASSERT_EQ(failures.size(), 1u);
    EXPECT_THAT(failures[0], HasSubstr("File too large"));
    EXPECT_EQ(replay_file(directory.file("log")).contents, acknowledged);
  });
  ::signal(SIGXFSZ, old_handler);
}

}  // namespace
}  // namespace kvd
