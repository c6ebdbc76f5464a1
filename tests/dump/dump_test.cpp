// SPDX-License-Identifier: BSD-2-Clause
// fiberprof dump as a user runs it, on programs whose fibers are known one by one: alive, and as core files.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <sys/resource.h>
#include <sys/wait.h>
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <set>
#include <string>

#include "integration/tool.h"
#include "process/child.h"
#include "process/core_of.h"

namespace fiberprof::test {
namespace {

using nlohmann::json;

json dump_json(const std::string& arguments) {
  const CommandResult result = tool("dump " + arguments + " --json 2>/dev/null");
  EXPECT_EQ(result.status, 0) << tool("dump " + arguments + " --json > /dev/null").output;
  json parsed = json::parse(result.output, nullptr, false);
  EXPECT_FALSE(parsed.is_discarded()) << result.output;
  return parsed;
}

json fiber_of(const json& dump, const std::string& name) {
  for (const json& fiber : dump["fibers"])
    if (fiber.value("name", "") == name) return fiber;
  ADD_FAILURE() << "no fiber " << name;
  return json::object();
}

uint64_t id_of(const json& dump, const std::string& name) { return fiber_of(dump, name).value("id", 0); }

// What every_wait's fibers are known to wait for. `alive`: of a process, which can tell what its descriptors are.
void expect_every_wait(const json& dump, bool alive) {
  EXPECT_EQ(dump["fibers_total"], 21);
  EXPECT_EQ(dump["states"], json({{"parked", 20}, {"blocking", 1}}));
  EXPECT_EQ(dump["torn"], 0);
  EXPECT_EQ(dump["without_stack"], 0);
  const std::pair<const char*, const char*> kReasons[] = {
      {"holder", "chan receive"}, {"wants", "mutex"},        {"sender", "chan send"},     {"nil", "nil channel"},
      {"selector", "select"},     {"empty", "empty select"}, {"reader", "sleep"},         {"writer", "rwlock write"},
      {"runner", "sleep"},        {"waiter", "once"},        {"permit", "semaphore"},     {"early", "barrier"},
      {"group", "wait group"},    {"joiner", "join"},        {"limited", "chan receive"}, {"context", "context"},
      {"io", "io read"}};
  for (const auto& [name, reason] : kReasons) {
    const json fiber = fiber_of(dump, name);
    EXPECT_EQ(fiber["reason"], reason) << name;
    EXPECT_EQ(fiber["parent"], id_of(dump, "main")) << name;
    EXPECT_NE(fiber["spawned_at"]["function"].get<std::string>().find("app::spawn<"), std::string::npos) << fiber;
    EXPECT_TRUE(fiber["spawned_at"]["file"].get<std::string>().ends_with("every_wait.cpp")) << fiber;
    EXPECT_TRUE(stack_has(fiber, "main::{lambda()#1}::operator()() const")) << fiber;
  }

  const json mutex = fiber_of(dump, "wants")["object"];
  EXPECT_EQ(mutex["kind"], "mutex");
  EXPECT_EQ(mutex["name"], "ledger");
  EXPECT_EQ(mutex["owner"]["fiber"], id_of(dump, "holder"));
  EXPECT_EQ(mutex["owner"]["name"], "holder");
  EXPECT_EQ(mutex["owner"]["reason"], "chan receive");

  const json full = fiber_of(dump, "sender")["object"];
  EXPECT_EQ(full["kind"], "channel");
  EXPECT_EQ(full["name"], "full");
  EXPECT_EQ(full["length"], 2);
  EXPECT_EQ(full["capacity"], 2);
  EXPECT_EQ(full["closed"], false);
  EXPECT_EQ(full["send_handles"], 1);
  EXPECT_EQ(full["receive_handles"], 1);
  EXPECT_EQ(full["waiting_senders"], 2);  // one of them selects
  EXPECT_EQ(full["waiting_receivers"], 0);
  EXPECT_TRUE(full["made_at"]["file"].get<std::string>().ends_with("every_wait.cpp")) << full;

  const json arms = fiber_of(dump, "selector")["arms"];
  ASSERT_EQ(arms.size(), 2u);
  EXPECT_EQ(arms[0]["reason"], "chan receive");
  EXPECT_EQ(arms[0]["object"]["name"], "never");
  EXPECT_EQ(arms[0]["object"]["waiting_receivers"], 3);
  EXPECT_EQ(arms[1]["reason"], "chan send");
  EXPECT_EQ(arms[1]["object"]["name"], "full");

  const json lock = fiber_of(dump, "writer")["object"];
  EXPECT_EQ(lock["name"], "book");
  EXPECT_EQ(lock["readers"], 1);
  ASSERT_EQ(lock["read_by"].size(), 1u) << lock;
  EXPECT_EQ(lock["read_by"][0]["name"], "reader");
  EXPECT_EQ(fiber_of(dump, "waiter")["object"]["owner"]["name"], "runner");
  EXPECT_EQ(fiber_of(dump, "permit")["object"]["count"], 1);
  EXPECT_EQ(fiber_of(dump, "permit")["object"]["most"], 4);
  EXPECT_EQ(fiber_of(dump, "early")["object"]["count"], 1);
  EXPECT_EQ(fiber_of(dump, "early")["object"]["parties"], 3);
  EXPECT_EQ(fiber_of(dump, "group")["object"]["count"], 2);
  EXPECT_EQ(fiber_of(dump, "joiner")["joins"]["name"], "joined");
  EXPECT_EQ(fiber_of(dump, "context")["object"]["cancelled"], false);
  EXPECT_EQ(fiber_of(dump, "io").value("file", ""), alive ? "socket" : "");

  const int64_t hour = 3'600'000'000'000;
  EXPECT_NEAR(fiber_of(dump, "limited")["deadline_in_ns"].get<double>(), hour / 2, hour / 4);
  EXPECT_NEAR(fiber_of(dump, "reader")["deadline_in_ns"].get<double>(), hour, hour / 4);
  EXPECT_FALSE(fiber_of(dump, "holder").contains("deadline_in_ns"));

  const json blocker = fiber_of(dump, "blocker");
  EXPECT_EQ(blocker["state"], "blocking");
  EXPECT_NE(blocker["on"].get<std::string>().find("in a blocking section on worker tid "), std::string::npos);
  EXPECT_EQ(blocker["stack"].empty(), alive) << "only a core has the registers of its thread";
}

class EveryWait : public testing::Test {
 protected:
  EveryWait() : target_({program("every_wait")}) {
    EXPECT_TRUE(target_.wait_for_parked("last"));
    EXPECT_TRUE(target_.wait_for_parked("main"));
  }
  std::string pid() const { return std::to_string(target_.pid()); }
  Dumpable target_;
};

TEST_F(EveryWait, AProcess) { expect_every_wait(dump_json(pid()), true); }

TEST_F(EveryWait, ACoreFile) {
  if (const std::string why = no_core_files(); !why.empty()) GTEST_SKIP() << why;
  const std::string core = target_.abort();
  ASSERT_FALSE(core.empty());
  const json dump = dump_json("--core " + core);
  expect_every_wait(dump, false);
  EXPECT_EQ(dump["core"], core);
  EXPECT_EQ(dump["process"]["name"], "every_wait");
  EXPECT_TRUE(stack_has(fiber_of(dump, "blocker"), "pause")) << fiber_of(dump, "blocker");
  EXPECT_TRUE(stack_has(fiber_of(dump, "blocker"), "main::{lambda()#1}"));
}

TEST_F(EveryWait, TextSaysTheSame) {
  const std::string text = tool("dump " + pid()).output;
  const std::string id = std::to_string(id_of(dump_json(pid()), "holder"));
  for (const std::string& expected : {
           std::string("21 fibers: 20 parked, 1 blocking"),
           std::string("fiber 3 \"wants\"  mutex for "),
           "\"ledger\": held by fiber " + id + " \"holder\" (parked, chan receive)\n",
           std::string(
               "\"full\": 2 of 2 buffered, never closed; handles: 1 to send, 1 to receive; waiting: 2 to send, 0 "
               "to receive\n"),
           std::string("    to receive from channel "),
           std::string("    to send on channel "),
           std::string("\"book\": held for reading 1 time, by fiber 8 \"reader\" (parked, sleep)\n"),
           std::string("\"setup\": run by fiber 10 \"runner\" (parked, sleep)\n"),
           std::string("\"permits\": 1 of 4 permits free\n"),
           std::string("\"start\": 1 of 3 arrived\n"),
           std::string("\"group\": 2 not done\n"),
           std::string("    on fiber 16 \"joined\" (parked, sleep)\n"),
           std::string(", socket\n"),
           std::string(", ends by itself in "),
           std::string("no stack: in a blocking section on worker tid "),
       })
    EXPECT_NE(text.find(expected), std::string::npos) << expected << "\nnot in\n" << text;
}

TEST_F(EveryWait, FiltersChoose) {
  const auto names = [&](const std::string& filter) {
    std::set<std::string> found;
    const json dump = dump_json(pid() + " " + filter);
    for (const json& fiber : dump["fibers"]) found.insert(fiber["name"]);
    return found;
  };
  using Names = std::set<std::string>;
  EXPECT_EQ(names("--reason chan-receive"), (Names{"holder", "limited"}));
  EXPECT_EQ(names("--state blocking"), Names{"blocker"});
  EXPECT_EQ(names("--state running"), Names{});
  EXPECT_EQ(names("--older 1h"), Names{});
  EXPECT_EQ(names("--older 1ns").size(), 21u);
  EXPECT_EQ(names("--fiber holder"), Names{"holder"});
  EXPECT_EQ(names("--fiber 2"), Names{"holder"});
  EXPECT_EQ(names("-n 3").size(), 3u);
  EXPECT_EQ(dump_json(pid() + " -n 3")["fibers_chosen"], 21);
}

TEST_F(EveryWait, OneFiberWithItsRelatives) {
  const json holder = dump_json(pid() + " --fiber holder");
  ASSERT_EQ(holder["holds"].size(), 1u);
  EXPECT_EQ(holder["holds"][0]["name"], "ledger");
  EXPECT_EQ(holder["holds"][0]["waiting"], 1);
  const json joined = dump_json(pid() + " --fiber joined");
  ASSERT_EQ(joined["joined_by"].size(), 1u);
  EXPECT_EQ(joined["joined_by"][0]["name"], "joiner");
  EXPECT_EQ(dump_json(pid() + " --fiber main")["children"].size(), 19u);
  EXPECT_EQ(dump_json(pid() + " --fiber reader")["holds"][0]["name"], "book");
}

TEST_F(EveryWait, ByChannelAndByObject) {
  const json channels = dump_json(pid() + " --by channel")["objects"];
  ASSERT_EQ(channels.size(), 2u);
  EXPECT_EQ(channels[0]["name"], "never");
  EXPECT_EQ(channels[0]["waiting_receivers"], 3);
  uint64_t receivers = 0;
  for (const json& group : channels[0]["waiters"]) {
    EXPECT_EQ(group["reason"], "chan receive");
    receivers += group["count"].get<uint64_t>();
  }
  EXPECT_EQ(receivers, 3u);
  EXPECT_EQ(channels[1]["name"], "full");
  EXPECT_EQ(channels[1]["waiting_senders"], 2);
  std::set<std::string> kinds;
  const json objects = dump_json(pid() + " --by object");
  for (const json& object : objects["objects"]) kinds.insert(object["kind"]);
  EXPECT_EQ(kinds, (std::set<std::string>{"channel", "mutex", "rwlock", "once", "semaphore", "barrier", "wait group",
                                          "context"}));
}

TEST_F(EveryWait, WrongRequestsAreExplained) {
  const auto expect = [](const std::string& arguments, int status, const std::string& text) {
    const CommandResult result = tool("dump " + arguments);
    EXPECT_EQ(result.status, status) << arguments;
    EXPECT_NE(result.output.find(text), std::string::npos) << arguments << ": " << result.output;
  };
  expect("", 2, "nothing to dump");
  expect(pid() + " --core x", 2, "at once");
  expect(pid() + " --exe x", 2, "--exe goes with --core");
  expect(pid() + " --group --by channel", 2, "at once");
  expect(pid() + " --reason foo", 2, "'foo'");
  expect(pid() + " --fiber 4711", 1, "has no fiber 4711");
  expect(pid() + " --fiber nobody", 1, "has no fiber named 'nobody'");
  expect("4194305", 1, "no such process");
  expect(std::to_string(getpid()), 1, "has no fiber probes");
  expect("--core /etc/passwd", 1, "not an ELF file");
  expect("--core " + kTool, 1, "not a core file");
}

// Somebody without privileges sees his own processes, and is told why he does not see others'.
TEST_F(EveryWait, WithoutPrivileges) {
  if (geteuid() != 0) GTEST_SKIP() << "already without: the other tests are this test";
  const std::string other = "setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set=-all ";
  const CommandResult refused = run_command(other + kTool + " dump " + pid());
  EXPECT_EQ(refused.status, 1);
  EXPECT_NE(refused.output.find("not permitted, it belongs to uid 0"), std::string::npos) << refused.output;
  EXPECT_NE(refused.output.find("CAP_SYS_PTRACE"), std::string::npos) << refused.output;
  Background own({"/usr/bin/setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", program("every_wait")});
  for (;;) {  // until its last fiber is there
    const CommandResult result = run_command(other + kTool + " dump " + own.pid_text() + " --json 2>/dev/null");
    const json dump = json::parse(result.output, nullptr, false);
    if (result.status != 0 || dump["fibers_total"] != 21 || dump["states"] != json({{"parked", 20}, {"blocking", 1}}))
      continue;
    expect_every_wait(dump, true);
    break;
  }
}

TEST(Dump, NamesCannotWriteOnTheTerminal) {
  // The target names itself; here by the name it is started as.
  ScratchDirectory scratch;
  const std::string evil = scratch / "\x1b[31mred";
  std::filesystem::copy_file(program("every_wait"), evil);
  Dumpable target({evil});
  ASSERT_TRUE(target.wait_for_parked("last"));
  for (const char* mode : {"", " --group", " --by object", " --json"}) {
    const std::string text = tool("dump " + std::to_string(target.pid()) + mode).output;
    EXPECT_NE(text.find("red"), std::string::npos);
    EXPECT_EQ(text.find('\x1b'), std::string::npos) << mode;
  }
}

TEST(Dump, ACrashShowsTheFiberThatCausedIt) {
  if (const std::string why = no_core_files(); !why.empty()) GTEST_SKIP() << why;
  ScratchDirectory scratch;
  const CommandResult crashed =
      run_command("cd " + scratch.path() + " && ulimit -c unlimited && exec " + program("crashes"));
  ASSERT_EQ(crashed.status, 128 + SIGABRT) << crashed.output;
  std::string core;
  for (const auto& file : std::filesystem::directory_iterator(scratch.path())) core = file.path();
  const json dump = dump_json("--core " + core);
  EXPECT_EQ(dump["signal"], SIGABRT);
  EXPECT_EQ(dump["crashed"]["name"], "victim");
  const std::string text = tool("dump --core " + core).output;
  EXPECT_NE(text.find("ended by SIGABRT in fiber 2 \"victim\" (running)\n"), std::string::npos) << text;
  const json victim = fiber_of(dump, "victim");
  EXPECT_EQ(victim["state"], "running");
  EXPECT_TRUE(stack_has(victim, "abort")) << victim;
  EXPECT_TRUE(stack_has(victim, "app::find_the_world_wanting")) << victim;
  EXPECT_TRUE(stack_has(victim, "app::go_about_business")) << victim;
}

// A thread that is no fiber may wait for an object, too, and hold one.
TEST(Dump, ThreadsAmongTheFibers) {
  Dumpable target({program("thread_waits")});
  ASSERT_TRUE(target.wait_for_parked("wants"));
  const std::string pid = std::to_string(target.pid());
  json mutex, channel;
  do {
    const json dump = dump_json(pid);
    mutex = fiber_of(dump, "wants")["object"];
    channel = fiber_of(dump, "receives")["object"];
  } while (!channel.contains("waiting_threads") && !HasFailure());
  EXPECT_GT(mutex["owner"]["thread"], 0) << mutex;
  EXPECT_EQ(channel["waiting_threads"].size(), 1u);
  EXPECT_EQ(channel["waiting_threads"][0], mutex["owner"]["thread"]);
  EXPECT_EQ(channel["waiting_receivers"], 1);
  const std::string text = tool("dump " + pid).output, tid = std::to_string(mutex["owner"]["thread"].get<int>());
  EXPECT_NE(text.find("held by thread " + tid + ", which is no fiber"), std::string::npos) << text;
  EXPECT_NE(text.find("waiting too, and no fiber: thread " + tid), std::string::npos) << text;
}

TEST(Dump, OfACoreCutShortSaysSo) {
  if (const std::string why = no_core_files(); !why.empty()) GTEST_SKIP() << why;
  Dumpable target({program("parked")});
  ASSERT_TRUE(target.wait_for_parked("deep"));
  const std::string core = target.abort();
  std::filesystem::resize_file(core, std::filesystem::file_size(core) * 99 / 100);
  const CommandResult result = tool("dump --core " + core);
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("the core file is cut short"), std::string::npos) << result.output;
  std::filesystem::resize_file(core, 100);
  const CommandResult nothing = tool("dump --core " + core);
  EXPECT_EQ(nothing.status, 1);
  EXPECT_NE(nothing.output.find("cut off"), std::string::npos) << nothing.output;
}

// All of very many, in little memory: what is kept of a group does not grow with it.
TEST(Dump, GroupsOfVeryManyFibers) {
  constexpr uint64_t kFibers = 200'000;
  Child target({program("many_parked"), std::to_string(kFibers)});
  ASSERT_EQ(target.line, "ready");
  const std::string pid = std::to_string(target.pid());
  json dump;
  do dump = dump_json(pid + " --group");
  while (dump["states"].value("parked", 0U) < kFibers);
  EXPECT_EQ(dump["torn"], 0);
  EXPECT_EQ(dump["not_kept"], 0);
  ASSERT_GE(dump["groups"].size(), 2u);
  const json& receivers = dump["groups"][0];
  EXPECT_EQ(receivers["count"], kFibers * 9 / 10);
  EXPECT_EQ(receivers["reason"], "chan receive");
  EXPECT_TRUE(stack_has(receivers, "app::wait_for_work"));
  const json& lockers = dump["groups"][1];
  EXPECT_EQ(lockers["count"], kFibers / 10);
  EXPECT_EQ(lockers["object"]["kind"], "mutex");
  EXPECT_TRUE(stack_has(lockers, "app::wait_for_turn"));
  EXPECT_GE(receivers["oldest_ns"].get<uint64_t>(), receivers["youngest_ns"].get<uint64_t>());

  const pid_t child = fork();
  if (child == 0) {
    freopen("/dev/null", "w", stdout);
    execl(kTool.c_str(), kTool.c_str(), "dump", pid.c_str(), "--group", nullptr);
    _exit(127);
  }
  int status = 0;
  rusage usage{};
  ASSERT_EQ(wait4(child, &status, 0, &usage), child);
  EXPECT_EQ(status, 0);
#if !defined(__SANITIZE_ADDRESS__)
  EXPECT_LT(usage.ru_maxrss, 100 * 1024) << "KiB";
#endif
}

}  // namespace
}  // namespace fiberprof::test
