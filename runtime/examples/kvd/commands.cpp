// SPDX-License-Identifier: BSD-2-Clause
#include "commands.h"

#include <algorithm>
#include <array>
#include <limits>

#include "request.h"

namespace kvd {

namespace {

constexpr auto kRead = Command::read, kWrite = Command::write, kAdmin = Command::admin;

constexpr Command kCommands[] = {
    {"append", 3, kWrite, 1, 1, 1, command_append},
    {"client", -2, kAdmin, 0, 0, 0, command_client},
    {"command", -1, kAdmin, 0, 0, 0, command_command},
    {"config", -2, kAdmin, 0, 0, 0, command_config},
    {"dbsize", 1, kRead, 0, 0, 0, command_dbsize},
    {"decr", 2, kWrite, 1, 1, 1, command_decr},
    {"decrby", 3, kWrite, 1, 1, 1, command_decrby},
    {"del", -2, kWrite, 1, -1, 1, command_del},
    {"echo", 2, kAdmin, 0, 0, 0, command_echo},
    {"exists", -2, kRead, 1, -1, 1, command_exists},
    {"expire", -3, kWrite, 1, 1, 1, command_expire},
    {"expireat", -3, kWrite, 1, 1, 1, command_expireat},
    {"flushall", -1, kWrite, 0, 0, 0, command_flushall},
    {"flushdb", -1, kWrite, 0, 0, 0, command_flushall},
    {"get", 2, kRead, 1, 1, 1, command_get},
    {"getdel", 2, kWrite, 1, 1, 1, command_getdel},
    {"getset", 3, kWrite, 1, 1, 1, command_getset},
    {"hello", -1, kAdmin, 0, 0, 0, command_hello},
    {"incr", 2, kWrite, 1, 1, 1, command_incr},
    {"incrby", 3, kWrite, 1, 1, 1, command_incrby},
    {"info", -1, kAdmin, 0, 0, 0, command_info},
    {"keys", 2, kRead, 0, 0, 0, command_keys},
    {"mget", -2, kRead, 1, -1, 1, command_mget},
    {"mset", -3, kWrite, 1, -1, 2, command_mset},
    {"msetnx", -3, kWrite, 1, -1, 2, command_msetnx},
    {"persist", 2, kWrite, 1, 1, 1, command_persist},
    {"pexpire", -3, kWrite, 1, 1, 1, command_pexpire},
    {"pexpireat", -3, kWrite, 1, 1, 1, command_pexpireat},
    {"ping", -1, kAdmin, 0, 0, 0, command_ping},
    {"psetex", 4, kWrite, 1, 1, 1, command_psetex},
    {"pttl", 2, kRead, 1, 1, 1, command_pttl},
    {"quit", -1, kAdmin, 0, 0, 0, command_quit},
    {"select", 2, kAdmin, 0, 0, 0, command_select},
    {"set", -3, kWrite, 1, 1, 1, command_set},
    {"setex", 4, kWrite, 1, 1, 1, command_setex},
    {"setnx", 3, kWrite, 1, 1, 1, command_setnx},
    {"strlen", 2, kRead, 1, 1, 1, command_strlen},
    {"time", 1, kAdmin, 0, 0, 0, command_time},
    {"ttl", 2, kRead, 1, 1, 1, command_ttl},
    {"type", 2, kRead, 1, 1, 1, command_type},
    {"unlink", -2, kWrite, 1, -1, 1, command_del},
};

constexpr char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

constexpr std::size_t slot_of(std::string_view name) {
  std::size_t hash = name.size();
  for (const char c : name) hash = hash * 31 + static_cast<unsigned char>(lower(c));
  return hash;
}

// Open addressing, built by the compiler: a look-up is a hash of the name and, mostly, one comparison.
constexpr std::size_t kSlots = 256;
constexpr auto kTable = [] {
  std::array<std::uint8_t, kSlots> table{};  // index into kCommands and one
  for (std::size_t i = 0; i < std::size(kCommands); ++i) {
    std::size_t slot = slot_of(kCommands[i].name) % kSlots;
    while (table[slot] != 0) slot = (slot + 1) % kSlots;
    table[slot] = static_cast<std::uint8_t>(i + 1);
  }
  return table;
}();

// As Redis words it; of what the client sent only a bounded part comes back.
void reply_unknown(Context& context) {
  constexpr std::size_t kShown = 128;
  std::string text = "ERR unknown command '";
  text += context.arguments[0].substr(0, kShown);
  text += "', with args beginning with: ";
  std::size_t room = kShown;
  for (const std::string_view argument : context.arguments.subspan(1)) {
    if (room == 0) break;
    const std::string_view part = argument.substr(0, room);
    text += '\'';
    text += part;
    text += "' ";
    room -= part.size() + std::min<std::size_t>(room - part.size(), 3);
  }
  context.reply.error(text);
}

}  // namespace

bool equals_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) { return lower(x) == lower(y); });
}

std::span<const Command> commands() { return kCommands; }

const Command* find_command(std::string_view name) {
  constexpr std::size_t kLongest = 16;
  if (name.size() > kLongest) return nullptr;
  for (std::size_t slot = slot_of(name) % kSlots; kTable[slot] != 0; slot = (slot + 1) % kSlots) {
    const Command& command = kCommands[kTable[slot] - 1];
    if (equals_ignoring_case(command.name, name)) return &command;
  }
  return nullptr;
}

bool Context::integer_argument(std::size_t index, std::int64_t& value) {
  if (parse_integer(arguments[index], value)) return true;
  reply.error(kNotAnInteger);
  return false;
}

bool expiry_time(Context& context, std::int64_t amount, std::int64_t unit, Milliseconds base, Sign sign,
                 Milliseconds& when) {
  const bool fits = !__builtin_mul_overflow(amount, unit, &when) && !__builtin_add_overflow(when, base, &when);
  if (fits && (sign == Sign::any || amount > 0)) return true;
  std::string text = "ERR invalid expire time in '";
  for (const char c : context.arguments[0]) text += lower(c);
  context.reply.error(text + "' command");
  return false;
}

void execute(Context& context) {
  const Command* command = find_command(context.arguments[0]);
  if (command == nullptr) {
    reply_unknown(context);
    return;
  }
  const auto count = static_cast<std::ptrdiff_t>(context.arguments.size());
  if (command->arity > 0 ? count != command->arity : count < -command->arity) {
    context.reply.error("ERR wrong number of arguments for '" + std::string(command->name) + "' command");
    return;
  }
  command->run(context);
}

}  // namespace kvd
