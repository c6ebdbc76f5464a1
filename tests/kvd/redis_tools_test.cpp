// SPDX-License-Identifier: BSD-2-Clause
// Debian's redis-cli and redis-benchmark, unmodified.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "kvd/kvd_process.h"
#include "kvd/temporary_directory.h"

namespace {

using testing::HasSubstr;
using testing::Not;

std::vector<std::string> tool(const std::string& name, const KvdProcess& server, std::vector<std::string> arguments) {
  std::vector<std::string> command = {name, "-p", std::to_string(server.port())};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

TEST(RedisCli, RunsCommands) {
  KvdProcess server;
  const Finished finished = run_program(tool("redis-cli", server, {"--no-raw"}),
                                        "set key \"two words\"\n"
                                        "get key\n"
                                        "incr n\n"
                                        "mget key none n\n"
                                        "lpush l 1\n"
                                        "keys *e*\n");
  EXPECT_EQ(finished.status, 0) << finished.err << " (is redis-tools installed? scripts/install-deps test)";
  EXPECT_EQ(finished.out,
            "OK\n"
            "\"two words\"\n"
            "(integer) 1\n"
            "1) \"two words\"\n2) (nil)\n3) \"1\"\n"
            "(error) ERR unknown command 'lpush', with args beginning with: 'l' '1' \n"
            "1) \"key\"\n");
}

TEST(RedisCli, MassInsertion) {
  KvdProcess server;
  std::string commands;
  for (int i = 0; i < 1000; ++i) commands += request({"SET", "k" + std::to_string(i), "v"});
  const Finished finished = run_program(tool("redis-cli", server, {"--pipe"}), commands);
  EXPECT_EQ(finished.status, 0) << finished.err;
  EXPECT_THAT(finished.out, HasSubstr("errors: 0, replies: 1000"));
}

void benchmark(const std::vector<std::string>& server_arguments, const std::vector<std::string>& arguments) {
  KvdProcess server(server_arguments);
  const Finished finished = run_program(tool("redis-benchmark", server, arguments));
  EXPECT_EQ(finished.status, 0) << finished.err;
  for (const char* name : {"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"}) {
    EXPECT_THAT(finished.out, HasSubstr(std::string("\"") + name + "\",")) << finished.err;
  }
  EXPECT_THAT(finished.out + finished.err, Not(HasSubstr("rror")));
  Client client(server.port());
  // INCR went to random keys of 100; each of its 20000 replies was counted there.
  client.send("EVAL\r\nDBSIZE\r\n");
  EXPECT_THAT(client.line(), HasSubstr("unknown command 'EVAL'"));
  const std::string size = client.line();
  EXPECT_GT(std::stol(size.substr(1)), 100) << size;
}

const std::vector<std::string> kLoad = {"--csv", "-t", "ping,set,get,incr,mset", "-n", "20000", "-c", "50",
                                        "-r",    "100"};

std::vector<std::string> with(std::vector<std::string> words, const std::vector<std::string>& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(RedisBenchmark, OneRequestAtATime) { benchmark({}, kLoad); }
TEST(RedisBenchmark, Pipelined) { benchmark({}, with(kLoad, {"-P", "32"})); }
TEST(RedisBenchmark, WithTheLog) {
  const TemporaryDirectory directory;
  benchmark({"--log", directory.file("log")}, with(kLoad, {"-P", "4"}));
}
TEST(RedisBenchmark, ThousandConnectionsOnOneShardAndFourProcessors) {
  benchmark({"--shards", "1", "--processors", "4"},
            {"--csv", "-t", "ping,set,get,incr,mset", "-n", "20000", "-c", "1000", "-r", "100"});
}

}  // namespace
