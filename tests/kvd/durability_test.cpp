// SPDX-License-Identifier: BSD-2-Clause
// The promise of the log: whatever a client was told is done is there after kill -9.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <atomic>
#include <csignal>
#include <memory>
#include <mutex>
#include <thread>

#include "kvd/kvd_process.h"
#include "kvd/temporary_directory.h"

namespace {

using testing::HasSubstr;

// One client that writes as fast as it is answered, and remembers what it was told.
struct Writer {
  std::string name;
  long counter = 0;           // as last acknowledged
  std::vector<long> written;  // keys "NAME:n" that were acknowledged
  std::string appended;       // acknowledged length of what is appended to "NAME:tail"
  bool may_have_one_more = false;

  // Until the server dies.
  void run(std::uint16_t port, std::atomic<long>& acknowledged) {
    Client client(port);
    for (long n = written.empty() ? 0 : written.back() + 1;; ++n) {
      // Three writes in one pipeline, three replies; or none, when it died in between: then all three are open.
      const std::string value = std::to_string(n * n);
      try {
        client.send(request({"SET", name + ":" + std::to_string(n), value}) + request({"INCR", name}) +
                    request({"APPEND", name + ":tail", "x"}));
      } catch (const std::runtime_error&) {
        return;
      }
      const std::string set = client.line(), incr = client.line(), append = client.line();
      if (set == "+OK\r\n") written.push_back(n);
      if (!incr.empty() && incr.ends_with("\r\n")) counter = std::stol(incr.substr(1));
      if (!append.ends_with("\r\n")) return;
      appended.assign(static_cast<std::size_t>(std::stol(append.substr(1))), 'x');
      acknowledged.fetch_add(3);
    }
  }

  void verify(Client& client) {
    for (const long n : written) {
      const std::string value = std::to_string(n * n);
      const std::string reply = "$" + std::to_string(value.size()) + "\r\n" + value + "\r\n";
      ASSERT_EQ(client.ask(request({"GET", name + ":" + std::to_string(n)}), reply), reply) << name << ":" << n;
    }
    client.send(request({"INCRBY", name, "0"}));
    const long now = std::stol(client.line().substr(1));
    EXPECT_GE(now, counter);
    EXPECT_LE(now, counter + 1) << "more than what was ever sent";
    counter = now;
    client.send(request({"STRLEN", name + ":tail"}));
    const auto length = static_cast<std::size_t>(std::stol(client.line().substr(1)));
    EXPECT_GE(length, appended.size());
    EXPECT_LE(length, appended.size() + 1);
  }
};

TEST(Durability, AcknowledgedWritesSurviveKillNine) {
  const TemporaryDirectory directory;
  const std::vector<std::string> arguments = {"--log", directory.file("log")};
  std::vector<Writer> writers(16);
  for (std::size_t i = 0; i < writers.size(); ++i) writers[i].name = "writer" + std::to_string(i);

  for (int round = 0; round < 6; ++round) {
    {
      KvdProcess server(arguments);
      std::atomic<long> acknowledged{0};
      std::vector<std::thread> threads;
      for (Writer& writer : writers) threads.emplace_back([&] { writer.run(server.port(), acknowledged); });
      // In the middle of the load: after so many acknowledgements, another number in each round.
      const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
      while (acknowledged.load() < 500 + 317 * round && std::chrono::steady_clock::now() < until)
        std::this_thread::yield();
      EXPECT_GE(acknowledged.load(), 500 + 317 * round) << "too slow to be killed under load";
      server.end(SIGKILL);
      for (std::thread& thread : threads) thread.join();
    }
    KvdProcess server(arguments);
    Client client(server.port());
    for (Writer& writer : writers) {
      writer.verify(client);
      if (HasFatalFailure()) return;
    }
    EXPECT_TRUE(WIFEXITED(server.end(SIGTERM)));
    EXPECT_THAT(server.errors(), HasSubstr("records from the log"));
  }
}

TEST(Durability, EveryKindOfChangeIsThereAfterwards) {
  const TemporaryDirectory directory;
  const std::vector<std::string> arguments = {"--log", directory.file("log")};
  const auto ok = [](Client& client, const std::vector<std::string>& words, const std::string& reply) {
    EXPECT_EQ(client.ask(request(words), reply), reply) << testing::PrintToString(words);
  };
  {
    KvdProcess server(arguments);
    Client client(server.port());
    ok(client, {"SET", "gone", "v"}, "+OK\r\n");
    ok(client, {"FLUSHALL"}, "+OK\r\n");
    ok(client, {"MSET", "a", "1", "b", "2", "c", "3"}, "+OK\r\n");
    ok(client, {"DEL", "b"}, ":1\r\n");
    ok(client, {"GETDEL", "c"}, "$1\r\n3\r\n");
    ok(client, {"GETSET", "a", "10"}, "$1\r\n1\r\n");
    ok(client, {"INCRBY", "a", "5"}, ":15\r\n");
    ok(client, {"SET", "ttl", "v", "EX", "1000"}, "+OK\r\n");
    ok(client, {"INCR", "counted"}, ":1\r\n");
    ok(client, {"PEXPIREAT", "counted", "4000000000000"}, ":1\r\n");
    ok(client, {"INCR", "counted"}, ":2\r\n");
    ok(client, {"SETEX", "kept", "1000", "v"}, "+OK\r\n");
    ok(client, {"PERSIST", "kept"}, ":1\r\n");
    ok(client, {"SET", "short", "v", "PX", "1"}, "+OK\r\n");
    ok(client, {"SETNX", "nx", "1"}, ":1\r\n");
    ok(client, {"SETNX", "nx", "2"}, ":0\r\n");
    ok(client, {"APPEND", "nx", "2"}, ":2\r\n");
    ok(client, {"EXPIRE", "nx", "-1"}, ":1\r\n");
    ok(client, {"APPEND", "nx", "3"}, ":1\r\n");
    ok(client, {"MSETNX", "m1", "v", "m2", "v"}, ":1\r\n");
    server.end(SIGKILL);
  }
  KvdProcess server(arguments);
  Client client(server.port());
  ok(client, {"MGET", "gone", "a", "b", "c", "ttl", "counted", "kept", "short", "nx", "m1"},
     "*10\r\n$-1\r\n$2\r\n15\r\n$-1\r\n$-1\r\n$1\r\nv\r\n$1\r\n2\r\n$1\r\nv\r\n$-1\r\n$1\r\n3\r\n$1\r\nv\r\n");
  ok(client, {"TTL", "kept"}, ":-1\r\n");
  ok(client, {"TTL", "nx"}, ":-1\r\n");
  client.send(request({"TTL", "ttl"}));
  const long ttl = std::stol(client.line().substr(1));
  EXPECT_GT(ttl, 900);
  EXPECT_LE(ttl, 1000);
  ok(client, {"PEXPIREAT", "counted", "4000000000001", "GT"}, ":1\r\n");
  ok(client, {"PEXPIREAT", "counted", "4000000000001", "GT"}, ":0\r\n");
}

// With SIGTERM nothing that was written may be lost either, and no torn end is left.
TEST(Durability, AnOrderlyEndLeavesAWholeLog) {
  const TemporaryDirectory directory;
  const std::vector<std::string> arguments = {"--log", directory.file("log")};
  Writer writer;
  writer.name = "w";
  {
    KvdProcess server(arguments);
    std::atomic<long> acknowledged{0};
    std::thread thread([&] { writer.run(server.port(), acknowledged); });
    const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (acknowledged.load() < 100 && std::chrono::steady_clock::now() < until) std::this_thread::yield();
    const int status = server.end(SIGTERM);
    thread.join();
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  }
  KvdProcess server(arguments);
  Client client(server.port());
  writer.verify(client);
  server.end(SIGTERM);
  EXPECT_THAT(server.errors(), testing::Not(HasSubstr("cut off")));
}

}  // namespace
