// SPDX-License-Identifier: BSD-2-Clause
// Commands about the server and the connection.
#include <unistd.h>

#include <chrono>
#include <vector>

#include "commands.h"
#include "fiber/fiber.h"
#include "fiber/runtime.h"
#include "glob.h"
#include "request.h"

namespace kvd {

namespace {

// Clients look at it to decide what they may ask for.
constexpr std::string_view kRedisVersion = "7.0.0";

void reply_unknown_subcommand(Context& context, std::string_view command) {
  context.reply.error("ERR unknown subcommand '" + std::string(context.arguments[1].substr(0, 128)) + "'. Try " +
                      std::string(command) + " HELP.");
}

// One section of INFO after the other, "name:value" lines under "# Section".
class Info {
 public:
  explicit Info(std::span<const std::string_view> wanted) : wanted_(wanted) {}
  void section(std::string_view name) {
    shown_ = wanted_.empty();
    for (const std::string_view word : wanted_) {
      shown_ |= equals_ignoring_case(word, name) || equals_ignoring_case(word, "all") ||
                equals_ignoring_case(word, "default") || equals_ignoring_case(word, "everything");
    }
    if (shown_) text_.append(text_.empty() ? "# " : "\r\n# ").append(name).append("\r\n");
  }
  void line(std::string_view name, std::string_view value) {
    if (shown_) text_.append(name).append(":").append(value).append("\r\n");
  }
  void line(std::string_view name, std::uint64_t value) { line(name, std::string_view(std::to_string(value))); }
  bool shown() const { return shown_; }
  const std::string& text() const { return text_; }

 private:
  std::span<const std::string_view> wanted_;
  bool shown_ = true;
  std::string text_;
};

}  // namespace

void command_ping(Context& context) {
  if (context.arguments.size() > 2) {
    context.reply.error("ERR wrong number of arguments for 'ping' command");
  } else if (context.arguments.size() == 2) {
    context.reply.bulk(context.arguments[1]);
  } else {
    context.reply.simple("PONG");
  }
}

void command_echo(Context& context) { context.reply.bulk(context.arguments[1]); }

void command_info(Context& context) {
  const ServerState& server = context.server;
  const auto uptime = std::chrono::steady_clock::now() - server.started;
  Info info(context.arguments.subspan(1));
  info.section("Server");
  info.line("redis_version", kRedisVersion);
  info.line("server_name", "fiber-kvd");
  info.line("process_id", static_cast<std::uint64_t>(::getpid()));
  info.line("tcp_port", server.port);
  info.line("uptime_in_seconds",
            static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(uptime).count()));
  info.line("processors", fiber::processor_count());
  info.line("shards", server.store.shards());
  info.section("Clients");
  info.line("connected_clients", server.connections.load());
  info.section("Persistence");
  info.line("aof_enabled", server.log != nullptr ? 1 : 0);
  if (server.log != nullptr) {
    info.line("aof_current_size", server.log->bytes());
    info.line("log_groups", server.log->groups());
  }
  info.section("Stats");
  info.line("total_connections_received", server.connections_total.load());
  info.line("total_commands_processed", server.commands_total.load());
  info.section("Keyspace");
  if (info.shown()) {
    if (const std::size_t keys = server.store.size(); keys > 0) {
      info.line("db0", "keys=" + std::to_string(keys) + ",expires=" + std::to_string(server.store.with_expiry()) +
                           ",avg_ttl=0");
    }
  }
  context.reply.bulk(info.text());
}

void command_config(Context& context) {
  const std::string_view what = context.arguments[1];
  if (equals_ignoring_case(what, "resetstat") && context.arguments.size() == 2) {
    context.reply.ok();
    return;
  }
  if (!equals_ignoring_case(what, "get") || context.arguments.size() < 3) {
    reply_unknown_subcommand(context, "CONFIG");
    return;
  }
  const ServerState& server = context.server;
  const std::pair<std::string_view, std::string> settings[] = {
      {"appendfsync", "always"},
      {"appendonly", server.log != nullptr ? "yes" : "no"},
      {"bind", server.options.bind},
      {"databases", "1"},
      {"maxmemory", "0"},
      {"port", std::to_string(server.port)},
      {"proto-max-bulk-len", std::to_string(kMaxBulk)},
      {"save", ""},
  };
  const std::size_t mark = context.reply.mark();
  std::size_t replies = 0;
  for (const auto& [name, value] : settings) {
    bool wanted = false;
    for (const std::string_view pattern : context.arguments.subspan(2)) {
      wanted |= glob_match(pattern, name, Case::insensitive);
    }
    if (!wanted) continue;
    context.reply.bulk(name);
    context.reply.bulk(value);
    replies += 2;
  }
  context.reply.array_from(mark, replies);
}

void command_command(Context& context) {
  const auto describe = [&](const Command& command) {
    context.reply.array(6);
    context.reply.bulk(command.name);
    context.reply.integer(command.arity);
    context.reply.array(1);
    context.reply.simple(command.kind == Command::write  ? "write"
                         : command.kind == Command::read ? "readonly"
                                                         : "fast");
    context.reply.integer(command.first_key);
    context.reply.integer(command.last_key);
    context.reply.integer(command.key_step);
  };
  if (context.arguments.size() == 1) {
    context.reply.array(commands().size());
    for (const Command& command : commands()) describe(command);
  } else if (equals_ignoring_case(context.arguments[1], "count")) {
    context.reply.integer(static_cast<std::int64_t>(commands().size()));
  } else if (equals_ignoring_case(context.arguments[1], "docs")) {
    context.reply.array(0);  // redis-cli goes without its hints then
  } else if (equals_ignoring_case(context.arguments[1], "info")) {
    context.reply.array(context.arguments.size() - 2);
    for (const std::string_view name : context.arguments.subspan(2)) {
      if (const Command* command = find_command(name)) {
        describe(*command);
      } else {
        context.reply.null();
      }
    }
  } else {
    reply_unknown_subcommand(context, "COMMAND");
  }
}

void command_select(Context& context) {
  std::int64_t index = 0;
  if (!context.integer_argument(1, index)) return;
  if (index == 0) {
    context.reply.ok();
  } else {
    context.reply.error("ERR DB index is out of range");
  }
}

void command_client(Context& context) {
  const std::string_view what = context.arguments[1];
  const std::size_t count = context.arguments.size();
  if (equals_ignoring_case(what, "id") && count == 2) {
    context.reply.integer(static_cast<std::int64_t>(context.client.id));
  } else if (equals_ignoring_case(what, "getname") && count == 2) {
    context.reply.bulk(context.client.name);
  } else if (equals_ignoring_case(what, "setname") && count == 3) {
    const std::string_view name = context.arguments[2].substr(0, 256);
    for (const char c : name) {
      if (c < '!' || c > '~') {
        context.reply.error("ERR Client names cannot contain spaces, newlines or special characters.");
        return;
      }
    }
    context.client.name = name;
    // The name a client gives itself is what a profiler shows.
    fiber::set_name(name.empty() ? "conn " + context.client.address : "conn " + context.client.name);
    context.reply.ok();
  } else if (equals_ignoring_case(what, "setinfo") && count == 4) {
    context.reply.ok();
  } else {
    reply_unknown_subcommand(context, "CLIENT");
  }
}

void command_hello(Context& context) {
  std::int64_t version = 2;
  if (context.arguments.size() > 1 && (!parse_integer(context.arguments[1], version) || version < 2 || version > 3)) {
    context.reply.error("NOPROTO unsupported protocol version");
    return;
  }
  if (version == 3) {
    context.reply.error("NOPROTO this server speaks RESP2 only");
    return;
  }
  if (context.arguments.size() > 2) {
    context.reply.error(kSyntaxError);
    return;
  }
  context.reply.array(14);
  context.reply.bulk("server");
  context.reply.bulk("fiber-kvd");
  context.reply.bulk("version");
  context.reply.bulk(kRedisVersion);
  context.reply.bulk("proto");
  context.reply.integer(2);
  context.reply.bulk("id");
  context.reply.integer(static_cast<std::int64_t>(context.client.id));
  context.reply.bulk("mode");
  context.reply.bulk("standalone");
  context.reply.bulk("role");
  context.reply.bulk("master");
  context.reply.bulk("modules");
  context.reply.array(0);
}

void command_time(Context& context) {
  using namespace std::chrono;
  const std::int64_t now = duration_cast<microseconds>(system_clock::now().time_since_epoch()).count();
  context.reply.array(2);
  context.reply.bulk(std::to_string(now / 1000000));
  context.reply.bulk(std::to_string(now % 1000000));
}

void command_quit(Context& context) {
  context.reply.ok();
  context.quit = true;
}

}  // namespace kvd
