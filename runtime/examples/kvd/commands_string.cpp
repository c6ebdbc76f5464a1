// SPDX-License-Identifier: BSD-2-Clause
// Commands on values.
#include <charconv>
#include <limits>

#include "commands.h"
#include "request.h"

namespace kvd {

namespace {

// Sets under a lock that the caller holds, and logs it.
void set_and_log(Context& context, Shard& shard, const HashedKey& key, std::string_view value, Milliseconds expires) {
  shard.set(key, value, expires);
  context.record({.type = RecordType::set, .key = key.text, .value = value, .expires = expires});
}

struct SetOptions {
  bool only_new = false, only_existing = false, keep_expiry = false, reply_old = false;
  bool has_expiry = false;
  Milliseconds expires = kNever;

  bool parse(Context& context) {
    const auto& arguments = context.arguments;
    for (std::size_t i = 3; i < arguments.size(); ++i) {
      const std::string_view word = arguments[i];
      const bool is_ex = equals_ignoring_case(word, "ex"), is_px = equals_ignoring_case(word, "px"),
                 is_exat = equals_ignoring_case(word, "exat"), is_pxat = equals_ignoring_case(word, "pxat");
      if (equals_ignoring_case(word, "nx") && !only_existing) {
        only_new = true;
      } else if (equals_ignoring_case(word, "xx") && !only_new) {
        only_existing = true;
      } else if (equals_ignoring_case(word, "get")) {
        reply_old = true;
      } else if (equals_ignoring_case(word, "keepttl") && !has_expiry) {
        keep_expiry = true;
      } else if ((is_ex || is_px || is_exat || is_pxat) && !has_expiry && !keep_expiry && i + 1 < arguments.size()) {
        std::int64_t amount = 0;
        if (!context.integer_argument(++i, amount)) return false;
        has_expiry = true;
        if (!expiry_time(context, amount, is_ex || is_exat ? 1000 : 1, is_ex || is_px ? context.now : 0, Sign::positive,
                         expires)) {
          return false;
        }
      } else {
        context.reply.error(kSyntaxError);
        return false;
      }
    }
    return true;
  }
};

void set_with_expiry(Context& context, std::int64_t unit) {
  std::int64_t amount = 0;
  Milliseconds expires = kNever;
  if (!context.integer_argument(2, amount)) return;
  if (!expiry_time(context, amount, unit, context.now, Sign::positive, expires)) return;
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  set_and_log(context, *shard, key, context.arguments[3], expires);
  context.reply.ok();
}

void add(Context& context, std::int64_t amount) {
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  const Entry* entry = shard->find(key, context.now);
  std::int64_t value = 0;
  if (entry != nullptr && !parse_integer(entry->value, value)) {
    context.reply.error(kNotAnInteger);
    return;
  }
  if (__builtin_add_overflow(value, amount, &value)) {
    context.reply.error("ERR increment or decrement would overflow");
    return;
  }
  char text[24];
  const char* end = std::to_chars(text, text + sizeof text, value).ptr;
  set_and_log(context, *shard, key, {text, static_cast<std::size_t>(end - text)},
              entry != nullptr ? entry->expires : kNever);
  context.reply.integer(value);
}

void reply_value(ReplyBuffer& reply, const Entry* entry) {
  if (entry != nullptr) {
    reply.bulk(entry->value);
  } else {
    reply.null();
  }
}

}  // namespace

void command_get(Context& context) {
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  reply_value(context.reply, shard->find(key, context.now));
}

void command_set(Context& context) {
  SetOptions options;
  if (!options.parse(context)) return;
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  const bool looks = context.arguments.size() > 3;
  const Entry* old = looks ? shard->find(key, context.now) : nullptr;
  const bool refused = (options.only_new && old != nullptr) || (options.only_existing && old == nullptr);
  if (options.reply_old) reply_value(context.reply, old);
  if (!refused) {
    const bool keep = options.keep_expiry && old != nullptr;
    set_and_log(context, *shard, key, context.arguments[2], keep ? old->expires : options.expires);
  }
  if (options.reply_old) return;
  if (refused) {
    context.reply.null();
  } else {
    context.reply.ok();
  }
}

void command_setnx(Context& context) {
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  const bool is_new = shard->find(key, context.now) == nullptr;
  if (is_new) set_and_log(context, *shard, key, context.arguments[2], kNever);
  context.reply.integer(is_new ? 1 : 0);
}

void command_setex(Context& context) { set_with_expiry(context, 1000); }
void command_psetex(Context& context) { set_with_expiry(context, 1); }

void command_getset(Context& context) {
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  reply_value(context.reply, shard->find(key, context.now));
  set_and_log(context, *shard, key, context.arguments[2], kNever);
}

void command_getdel(Context& context) {
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  const Entry* entry = shard->find(key, context.now);
  reply_value(context.reply, entry);
  if (entry == nullptr) return;
  shard->erase(key, context.now);
  context.record({.type = RecordType::erase, .key = key.text});
}

void command_mget(Context& context) {
  const auto keys = context.arguments.subspan(1);
  const auto shards = context.store().lock_all(keys);
  context.reply.array(keys.size());
  for (const std::string_view text : keys) {
    const HashedKey key = Store::hash(text);
    reply_value(context.reply, shards[key].find(key, context.now));
  }
}

void command_mset(Context& context) {
  const auto pairs = context.arguments.subspan(1);
  if (pairs.size() % 2 != 0) {
    context.reply.error("ERR wrong number of arguments for 'mset' command");
    return;
  }
  const auto shards = context.store().lock_all(pairs, 2);
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    const HashedKey key = Store::hash(pairs[i]);
    set_and_log(context, shards[key], key, pairs[i + 1], kNever);
  }
  context.reply.ok();
}

void command_msetnx(Context& context) {
  const auto pairs = context.arguments.subspan(1);
  if (pairs.size() % 2 != 0) {
    context.reply.error("ERR wrong number of arguments for 'msetnx' command");
    return;
  }
  const auto shards = context.store().lock_all(pairs, 2);
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    const HashedKey key = Store::hash(pairs[i]);
    if (shards[key].find(key, context.now) == nullptr) continue;
    context.reply.integer(0);
    return;
  }
  for (std::size_t i = 0; i < pairs.size(); i += 2) {
    const HashedKey key = Store::hash(pairs[i]);
    set_and_log(context, shards[key], key, pairs[i + 1], kNever);
  }
  context.reply.integer(1);
}

void command_append(Context& context) {
  const HashedKey key = Store::hash(context.arguments[1]);
  const std::string_view more = context.arguments[2];
  const auto shard = context.store().lock(key);
  Entry* entry = shard->find(key, context.now);
  if (entry == nullptr) {
    set_and_log(context, *shard, key, more, kNever);
    context.reply.integer(static_cast<std::int64_t>(more.size()));
    return;
  }
  if (entry->value.size() + more.size() > kMaxBulk) {
    context.reply.error("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
    return;
  }
  entry->value += more;
  context.record({.type = RecordType::append, .key = key.text, .value = more});
  context.reply.integer(static_cast<std::int64_t>(entry->value.size()));
}

void command_strlen(Context& context) {
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  const Entry* entry = shard->find(key, context.now);
  context.reply.integer(entry != nullptr ? static_cast<std::int64_t>(entry->value.size()) : 0);
}

void command_incr(Context& context) { add(context, 1); }
void command_decr(Context& context) { add(context, -1); }

void command_incrby(Context& context) {
  std::int64_t amount = 0;
  if (context.integer_argument(2, amount)) add(context, amount);
}

void command_decrby(Context& context) {
  std::int64_t amount = 0;
  if (!context.integer_argument(2, amount)) return;
  if (amount == std::numeric_limits<std::int64_t>::min()) {
    context.reply.error("ERR decrement would overflow");
    return;
  }
  add(context, -amount);
}

}  // namespace kvd
