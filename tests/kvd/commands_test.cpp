// SPDX-License-Identifier: BSD-2-Clause
// Every command against a real server: the bytes of its replies, which are those that Redis 7 gives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <sstream>

#include "kvd/kvd_process.h"

namespace {

using testing::HasSubstr;
using testing::StartsWith;

struct Exchange {
  std::vector<std::string> words;
  std::string reply;
};

void expect_replies(const std::vector<Exchange>& exchanges) {
  KvdProcess server;
  Client client(server.port());
  for (const Exchange& exchange : exchanges) {
    client.send(request(exchange.words));
    std::string reply = client.receive(exchange.reply.size());
    EXPECT_EQ(reply, exchange.reply) << testing::PrintToString(exchange.words);
    if (reply != exchange.reply) return;  // out of step from here on
  }
  // Nothing more was sent than was expected.
  EXPECT_EQ(client.ask("PING\r\n", "+PONG\r\n"), "+PONG\r\n");
}

TEST(Commands, Connection) {
  expect_replies({
      {{"PING"}, "+PONG\r\n"},
      {{"ping", "hi there"}, "$8\r\nhi there\r\n"},
      {{"PING", "a", "b"}, "-ERR wrong number of arguments for 'ping' command\r\n"},
      {{"ECHO", ""}, "$0\r\n\r\n"},
      {{"Echo", "a\r\nb"}, "$4\r\na\r\nb\r\n"},
      {{"ECHO"}, "-ERR wrong number of arguments for 'echo' command\r\n"},
      {{"SELECT", "0"}, "+OK\r\n"},
      {{"SELECT", "99"}, "-ERR DB index is out of range\r\n"},
      {{"CLIENT", "SETNAME", "me"}, "+OK\r\n"},
      {{"CLIENT", "GETNAME"}, "$2\r\nme\r\n"},
      {{"CLIENT", "SETNAME", "a b"}, "-ERR Client names cannot contain spaces, newlines or special characters.\r\n"},
      {{"nosuch", "a", "b"}, "-ERR unknown command 'nosuch', with args beginning with: 'a' 'b' \r\n"},
      {{"no\r\nsuch"}, "-ERR unknown command 'no  such', with args beginning with: \r\n"},
      {{"HELLO", "7"}, "-NOPROTO unsupported protocol version\r\n"},
      {{"CONFIG", "GET", "save"}, "*2\r\n$4\r\nsave\r\n$0\r\n\r\n"},
      {{"CONFIG", "GET", "appendonly"}, "*2\r\n$10\r\nappendonly\r\n$2\r\nno\r\n"},
      {{"CONFIG", "GET", "nosuch*"}, "*0\r\n"},
  });
}

TEST(Commands, Strings) {
  expect_replies({
      {{"GET", "k"}, "$-1\r\n"},
      {{"SET", "k", "v"}, "+OK\r\n"},
      {{"get", "k"}, "$1\r\nv\r\n"},
      {{"SET", "k", "w", "NX"}, "$-1\r\n"},
      {{"SET", "k", "w", "XX"}, "+OK\r\n"},
      {{"SET", "other", "w", "XX"}, "$-1\r\n"},
      {{"SET", "other", "w", "nx"}, "+OK\r\n"},
      {{"SET", "k", "x", "GET"}, "$1\r\nw\r\n"},
      {{"SET", "new", "x", "GET"}, "$-1\r\n"},
      {{"SET", "k", "x", "NX", "XX"}, "-ERR syntax error\r\n"},
      {{"SET", "k", "x", "EX"}, "-ERR syntax error\r\n"},
      {{"SET", "k", "x", "EX", "0"}, "-ERR invalid expire time in 'set' command\r\n"},
      {{"SET", "k", "x", "PX", "-1"}, "-ERR invalid expire time in 'set' command\r\n"},
      {{"SET", "k", "x", "EX", "9223372036854775807"}, "-ERR invalid expire time in 'set' command\r\n"},
      {{"SET", "k", "x", "EX", "a"}, "-ERR value is not an integer or out of range\r\n"},
      {{"SET", "k", "x", "EX", "1", "PX", "1"}, "-ERR syntax error\r\n"},
      {{"SET", "k"}, "-ERR wrong number of arguments for 'set' command\r\n"},
      {{"GET", "k"}, "$1\r\nx\r\n"},
      {{"SETNX", "k", "y"}, ":0\r\n"},
      {{"SETNX", "nx", "y"}, ":1\r\n"},
      {{"GETSET", "k", "z"}, "$1\r\nx\r\n"},
      {{"GETDEL", "k"}, "$1\r\nz\r\n"},
      {{"GETDEL", "k"}, "$-1\r\n"},
      {{"APPEND", "k", "ab"}, ":2\r\n"},
      {{"APPEND", "k", ""}, ":2\r\n"},
      {{"APPEND", "k", "cd"}, ":4\r\n"},
      {{"STRLEN", "k"}, ":4\r\n"},
      {{"STRLEN", "none"}, ":0\r\n"},
      {{"MSET", "a", "1", "b", "2", "a", "3"}, "+OK\r\n"},
      {{"MGET", "a", "none", "b"}, "*3\r\n$1\r\n3\r\n$-1\r\n$1\r\n2\r\n"},
      {{"MSET", "a"}, "-ERR wrong number of arguments for 'mset' command\r\n"},
      {{"MSET", "a", "1", "b"}, "-ERR wrong number of arguments for 'mset' command\r\n"},
      {{"MSETNX", "c", "1", "a", "9"}, ":0\r\n"},
      {{"MSETNX", "c", "1", "d", "2"}, ":1\r\n"},
      {{"MGET", "a", "c", "d"}, "*3\r\n$1\r\n3\r\n$1\r\n1\r\n$1\r\n2\r\n"},
  });
}

TEST(Commands, Numbers) {
  expect_replies({
      {{"INCR", "n"}, ":1\r\n"},
      {{"INCRBY", "n", "41"}, ":42\r\n"},
      {{"DECR", "n"}, ":41\r\n"},
      {{"DECRBY", "n", "-1"}, ":42\r\n"},
      {{"GET", "n"}, "$2\r\n42\r\n"},
      {{"INCRBY", "n", "1.5"}, "-ERR value is not an integer or out of range\r\n"},
      {{"SET", "n", "9223372036854775807"}, "+OK\r\n"},
      {{"INCR", "n"}, "-ERR increment or decrement would overflow\r\n"},
      {{"DECRBY", "n", "-9223372036854775808"}, "-ERR decrement would overflow\r\n"},
      {{"SET", "n", " 1"}, "+OK\r\n"},
      {{"INCR", "n"}, "-ERR value is not an integer or out of range\r\n"},
      {{"GET", "n"}, "$2\r\n 1\r\n"},
  });
}

TEST(Commands, Keys) {
  expect_replies({
      {{"MSET", "one", "1", "two", "2", "three", "3"}, "+OK\r\n"},
      {{"DBSIZE"}, ":3\r\n"},
      {{"EXISTS", "one", "one", "none"}, ":2\r\n"},
      {{"TYPE", "one"}, "+string\r\n"},
      {{"TYPE", "none"}, "+none\r\n"},
      {{"KEYS", "th*"}, "*1\r\n$5\r\nthree\r\n"},
      {{"KEYS", "t[w]?"}, "*1\r\n$3\r\ntwo\r\n"},
      {{"KEYS", "x*"}, "*0\r\n"},
      {{"DEL", "one", "none", "two", "two"}, ":2\r\n"},
      {{"UNLINK", "three"}, ":1\r\n"},
      {{"DBSIZE"}, ":0\r\n"},
      {{"SET", "k", "v"}, "+OK\r\n"},
      {{"TTL", "k"}, ":-1\r\n"},
      {{"TTL", "none"}, ":-2\r\n"},
      {{"PTTL", "none"}, ":-2\r\n"},
      {{"EXPIRE", "none", "10"}, ":0\r\n"},
      {{"EXPIRE", "k", "100"}, ":1\r\n"},
      {{"TTL", "k"}, ":100\r\n"},
      {{"EXPIRE", "k", "50", "GT"}, ":0\r\n"},
      {{"EXPIRE", "k", "200", "GT"}, ":1\r\n"},
      {{"EXPIRE", "k", "10", "NX"}, ":0\r\n"},
      {{"EXPIRE", "k", "10", "NX", "XX"}, "-ERR NX and XX, GT or LT options at the same time are not compatible\r\n"},
      {{"EXPIRE", "k", "10", "soon"}, "-ERR Unsupported option soon\r\n"},
      {{"EXPIRE", "k", "a"}, "-ERR value is not an integer or out of range\r\n"},
      {{"EXPIRE", "k", "9223372036854775807"}, "-ERR invalid expire time in 'expire' command\r\n"},
      {{"PERSIST", "k"}, ":1\r\n"},
      {{"PERSIST", "k"}, ":0\r\n"},
      {{"TTL", "k"}, ":-1\r\n"},
      {{"PEXPIREAT", "k", "4000000000000"}, ":1\r\n"},
      {{"APPEND", "k", "w"}, ":2\r\n"},
      {{"PERSIST", "k"}, ":1\r\n"},
      {{"SETEX", "k", "100", "v"}, "+OK\r\n"},
      {{"SET", "k", "w", "KEEPTTL"}, "+OK\r\n"},
      {{"TTL", "k"}, ":100\r\n"},
      {{"SET", "k", "w"}, "+OK\r\n"},
      {{"TTL", "k"}, ":-1\r\n"},
      {{"SETEX", "k", "0", "v"}, "-ERR invalid expire time in 'setex' command\r\n"},
      {{"EXPIRE", "k", "-1"}, ":1\r\n"},
      {{"EXISTS", "k"}, ":0\r\n"},
      {{"SET", "k", "v", "PXAT", "1"}, "+OK\r\n"},
      {{"GET", "k"}, "$-1\r\n"},
      {{"SET", "k", "v"}, "+OK\r\n"},
      {{"FLUSHALL"}, "+OK\r\n"},
      {{"DBSIZE"}, ":0\r\n"},
      {{"FLUSHALL", "ASYNC"}, "+OK\r\n"},
      {{"FLUSHALL", "now"}, "-ERR syntax error\r\n"},
  });
}

TEST(Server, InfoTellsWhatIsThere) {
  KvdProcess server;
  Client client(server.port());
  EXPECT_EQ(client.ask("SET a 1\r\nSET b 2 EX 100\r\n", "+OK\r\n+OK\r\n"), "+OK\r\n+OK\r\n");
  client.send("INFO\r\n");
  const std::string header = client.line();
  const std::string info = client.receive(std::stoul(header.substr(1)) + 2);
  EXPECT_THAT(info, HasSubstr("db0:keys=2,expires=1"));
  EXPECT_THAT(info, HasSubstr("connected_clients:1\r\n"));
  EXPECT_THAT(info, HasSubstr("process_id:" + std::to_string(server.pid()) + "\r\n"));
  EXPECT_THAT(info, HasSubstr("aof_enabled:0"));
  client.send("INFO keyspace\r\n");
  EXPECT_EQ(client.receive(std::stoul(client.line().substr(1)) + 2),
            "# Keyspace\r\ndb0:keys=2,expires=1,avg_ttl=0\r\n\r\n");
}

TEST(Server, PipelinedRequestsAreAnsweredInOrder) {
  KvdProcess server;
  Client client(server.port());
  std::string requests, replies;
  for (int i = 1; i <= 20000; ++i) {
    requests += request({"INCR", "n"});
    replies += ":" + std::to_string(i) + "\r\n";
  }
  EXPECT_EQ(client.ask(requests, replies), replies);
}

// Replies larger than any socket buffer, requested before any of them is read.
TEST(Server, LargeValuesInAndOut) {
  KvdProcess server;
  Client client(server.port());
  std::string value(8 << 20, '\0');
  for (std::size_t i = 0; i < value.size(); ++i) value[i] = static_cast<char>(i * 31 % 257);
  EXPECT_EQ(client.ask(request({"SET", "k", value}), "+OK\r\n"), "+OK\r\n");
  client.send(request({"GET", "k"}) + request({"GET", "k"}) + request({"STRLEN", "k"}));
  const std::string one = "$8388608\r\n" + value + "\r\n", all = one + one + ":8388608\r\n";
  EXPECT_TRUE(client.receive(all.size()) == all);
}

TEST(Server, RequestsMayArriveByteByByte) {
  KvdProcess server;
  Client client(server.port());
  for (const char c : request({"SET", "key", "value"})) client.send(std::string(1, c));
  EXPECT_EQ(client.receive(5), "+OK\r\n");
  EXPECT_EQ(client.ask("GET key\r\n", "$5\r\nvalue\r\n"), "$5\r\nvalue\r\n");
}

TEST(Server, ProtocolErrorsAreAnsweredAndEndTheConnection) {
  KvdProcess server;
  const std::pair<std::string, std::string> cases[] = {
      {"PING\r\n*1\r\n$-1\r\nPING\r\n", "+PONG\r\n-ERR Protocol error: invalid bulk length\r\n"},
      {"*1\r\nPING\r\n", "-ERR Protocol error: expected '$', got 'P'\r\n"},
      {"*a\r\n", "-ERR Protocol error: invalid multibulk length\r\n"},
      {"SET \"a\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"},
      {"QUIT\r\nPING\r\n", "+OK\r\n"},
  };
  for (const auto& [input, reply] : cases) {
    Client client(server.port());
    client.send(input);
    // receive_all() returns only because the server closes.
    EXPECT_EQ(client.receive_all(), reply);
  }
  EXPECT_EQ(Client(server.port()).ask("PING\r\n", "+PONG\r\n"), "+PONG\r\n");
}

std::size_t resident_kb(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stoul(line.substr(6));
  }
  return 0;
}

TEST(Server, AnnouncementsCostNoMemory) {
  KvdProcess server;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 50; ++i) {
    clients.push_back(std::make_unique<Client>(server.port()));
    clients.back()->send(i % 2 == 0 ? "*1\r\n$536870912\r\nx" : "*1048576\r\n$1\r\na\r\n");
  }
  // A reply to a later connection's request: by then at least most of the others were read.
  EXPECT_EQ(Client(server.port()).ask("PING\r\n", "+PONG\r\n"), "+PONG\r\n");
  EXPECT_GT(resident_kb(server.pid()), 0u);
  EXPECT_LT(resident_kb(server.pid()), 200u << 10) << "25 clients have announced 12.8 GB";
}

TEST(Server, ExpiredKeysDisappearAlsoUnasked) {
  KvdProcess server;
  Client client(server.port());
  EXPECT_EQ(client.ask("SET a 1 PX 1\r\nSET b 2\r\n", "+OK\r\n+OK\r\n"), "+OK\r\n+OK\r\n");
  // DBSIZE counts what is in memory: it falls when the expiry fiber has been there. The client's own patience bounds
  // it.
  std::string size;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (size != ":1\r\n" && std::chrono::steady_clock::now() < until) {
    client.send("DBSIZE\r\n");
    size = client.line();
  }
  EXPECT_EQ(size, ":1\r\n");
  EXPECT_EQ(client.ask("GET a\r\n", "$-1\r\n"), "$-1\r\n");
}

TEST(Server, EndsInOrderOnSignals) {
  for (const int signal : {SIGTERM, SIGINT}) {
    KvdProcess server;
    Client idle(server.port()), busy(server.port());
    EXPECT_EQ(busy.ask("PING\r\n", "+PONG\r\n"), "+PONG\r\n");
    busy.send("*2\r\n$3\r\nGET\r\n$10\r\nhalf");
    const int status = server.end(signal);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
    EXPECT_EQ(busy.receive_all(), "");
  }
}

TEST(Server, SaysWhatIsWrong) {
  KvdProcess first;
  const std::string program = FIBERPROF_BUILD_DIR "/bin/fiber-kvd";
  const auto expect = [&](std::vector<std::string> arguments, int status, const std::string& text) {
    arguments.insert(arguments.begin(), program);
    const Finished finished = run_program(arguments);
    EXPECT_TRUE(WIFEXITED(finished.status));
    EXPECT_EQ(WEXITSTATUS(finished.status), status) << testing::PrintToString(arguments);
    EXPECT_THAT(finished.err, HasSubstr(text));
  };
  expect({"--port", std::to_string(first.port())}, 1,
         "cannot listen on 127.0.0.1:" + std::to_string(first.port()) + ": Address already in use");
  expect({"--port", "65536"}, 2, "--port takes a number from 0 to 65535, not '65536'");
  expect({"--port", "x"}, 2, "--port takes a number");
  expect({"--shards", "0"}, 2, "--shards takes a number");
  expect({"--busy-poll", "10001"}, 2, "--busy-poll takes a number from 0 to 10000, not '10001'");
  expect({"--bind", "localhost"}, 2, "numeric address");
  expect({"--nosuch"}, 2, "--help");
  expect({"extra"}, 2, "what is 'extra'");
  expect({"--port", "0", "--log", "/nonexistent/log"}, 1,
         "cannot open the log '/nonexistent/log': No such file or directory");
  const Finished help = run_program({program, "--help"});
  EXPECT_EQ(help.status, 0);
  EXPECT_THAT(help.out, StartsWith("usage: fiber-kvd"));
}

}  // namespace
