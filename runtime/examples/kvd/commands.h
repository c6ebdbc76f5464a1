// SPDX-License-Identifier: BSD-2-Clause
// The commands: what each needs, the table of them, and how one is run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "clock.h"
#include "log.h"
#include "reply.h"
#include "server_state.h"
#include "store.h"

namespace kvd {

// What a client has said about itself.
struct Client {
  std::uint64_t id = 0;
  std::string address;
  std::string name;
};

// One command that is being run.
struct Context {
  ServerState& server;
  Client& client;
  ReplyBuffer& reply;
  Milliseconds now = 0;                              // of the batch of requests this one came in
  std::span<const std::string_view> arguments = {};  // the command's name first; into the read buffer
  bool wrote = false;                                // a record was logged: commit before replying
  bool quit = false;                                 // close the connection after replying

  Store& store() const { return server.store; }
  // Logs a change, if there is a log. Call with the shard's lock held.
  void record(const Record& change) {
    if (server.log == nullptr) return;
    server.log->append(change);
    wrote = true;
  }
  // Replies with an error when the argument is no whole number.
  bool integer_argument(std::size_t index, std::int64_t& value);
};

struct Command {
  enum Kind : std::uint8_t { read, write, admin };
  std::string_view name;  // in small letters
  int arity;              // with the name; -n: n or more
  Kind kind;
  int first_key, last_key, key_step;  // as COMMAND reports them; 0: no keys
  void (*run)(Context& context);
};

// All commands, by name.
std::span<const Command> commands();
// By name in any case; nullptr: there is none.
const Command* find_command(std::string_view name);

// Runs what context.arguments (not empty) asks for and appends exactly one reply.
void execute(Context& context);

// ASCII only.
bool equals_ignoring_case(std::string_view a, std::string_view b);

inline constexpr std::string_view kSyntaxError = "ERR syntax error";
inline constexpr std::string_view kNotAnInteger = "ERR value is not an integer or out of range";

// commands_string.cpp
void command_get(Context&);
void command_set(Context&);
void command_setnx(Context&);
void command_setex(Context&);
void command_psetex(Context&);
void command_getset(Context&);
void command_getdel(Context&);
void command_mget(Context&);
void command_mset(Context&);
void command_msetnx(Context&);
void command_append(Context&);
void command_strlen(Context&);
void command_incr(Context&);
void command_decr(Context&);
void command_incrby(Context&);
void command_decrby(Context&);
// commands_key.cpp
void command_del(Context&);
void command_exists(Context&);
void command_type(Context&);
void command_keys(Context&);
void command_expire(Context&);
void command_pexpire(Context&);
void command_expireat(Context&);
void command_pexpireat(Context&);
void command_ttl(Context&);
void command_pttl(Context&);
void command_persist(Context&);
void command_dbsize(Context&);
void command_flushall(Context&);
// commands_server.cpp
void command_ping(Context&);
void command_echo(Context&);
void command_info(Context&);
void command_config(Context&);
void command_command(Context&);
void command_select(Context&);
void command_client(Context&);
void command_hello(Context&);
void command_time(Context&);
void command_quit(Context&);

// Computes an absolute time from what a client gave; false, with the reply, when it is out of range. `unit` is 1 or
// 1000 ms, `base` is added. `must_be_positive`: as for SET and SETEX.
enum class Sign : bool { any, positive };
bool expiry_time(Context& context, std::int64_t amount, std::int64_t unit, Milliseconds base, Sign sign,
                 Milliseconds& when);

}  // namespace kvd
