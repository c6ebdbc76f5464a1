// SPDX-License-Identifier: BSD-2-Clause
// Commands on keys: which there are and for how long.
#include "commands.h"
#include "fiber/fiber.h"
#include "glob.h"

namespace kvd {

namespace {

constexpr std::int64_t kNoKey = -2, kNoExpiry = -1;

// The conditions of EXPIRE; an expiry of "never" counts as infinitely far away, as in Redis.
struct ExpireCondition {
  bool if_none = false, if_some = false, if_later = false, if_sooner = false;

  bool parse(Context& context) {
    for (const std::string_view word : context.arguments.subspan(3)) {
      if (equals_ignoring_case(word, "nx")) {
        if_none = true;
      } else if (equals_ignoring_case(word, "xx")) {
        if_some = true;
      } else if (equals_ignoring_case(word, "gt")) {
        if_later = true;
      } else if (equals_ignoring_case(word, "lt")) {
        if_sooner = true;
      } else {
        context.reply.error("ERR Unsupported option " + std::string(word.substr(0, 128)));
        return false;
      }
    }
    if (if_none && (if_some || if_later || if_sooner)) {
      context.reply.error("ERR NX and XX, GT or LT options at the same time are not compatible");
      return false;
    }
    if (if_later && if_sooner) {
      context.reply.error("ERR GT and LT options at the same time are not compatible");
      return false;
    }
    return true;
  }
  bool allows(Milliseconds old, Milliseconds when) const {
    if (if_none && old != kNever) return false;
    if (if_some && old == kNever) return false;
    if (if_later && (old == kNever || when <= old)) return false;
    if (if_sooner && old != kNever && when >= old) return false;
    return true;
  }
};

void expire(Context& context, std::int64_t unit, Milliseconds base) {
  std::int64_t amount = 0;
  Milliseconds when = 0;
  ExpireCondition condition;
  if (!context.integer_argument(2, amount) || !condition.parse(context)) return;
  if (!expiry_time(context, amount, unit, base, Sign::any, when)) return;
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  const Entry* entry = shard->find(key, context.now);
  if (entry == nullptr || !condition.allows(entry->expires, when)) {
    context.reply.integer(0);
    return;
  }
  if (when <= context.now) {
    shard->erase(key, context.now);
    context.record({.type = RecordType::erase, .key = key.text});
  } else {
    shard->set_expiry(key, when);
    context.record({.type = RecordType::expire, .key = key.text, .expires = when});
  }
  context.reply.integer(1);
}

void time_to_live(Context& context, std::int64_t unit) {
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  const Entry* entry = shard->find(key, context.now);
  if (entry == nullptr) {
    context.reply.integer(kNoKey);
  } else if (entry->expires == kNever) {
    context.reply.integer(kNoExpiry);
  } else {
    context.reply.integer((entry->expires - context.now + unit / 2) / unit);  // Redis rounds to the nearest
  }
}

}  // namespace

void command_del(Context& context) {
  const auto keys = context.arguments.subspan(1);
  const auto shards = context.store().lock_all(keys);
  std::int64_t erased = 0;
  for (const std::string_view text : keys) {
    const HashedKey key = Store::hash(text);
    if (!shards[key].erase(key, context.now)) continue;
    context.record({.type = RecordType::erase, .key = text});
    ++erased;
  }
  context.reply.integer(erased);
}

void command_exists(Context& context) {
  const auto keys = context.arguments.subspan(1);
  const auto shards = context.store().lock_all(keys);
  std::int64_t found = 0;
  for (const std::string_view text : keys) {
    const HashedKey key = Store::hash(text);
    if (shards[key].find(key, context.now) != nullptr) ++found;
  }
  context.reply.integer(found);
}

void command_type(Context& context) {
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  context.reply.simple(shard->find(key, context.now) != nullptr ? "string" : "none");
}

void command_keys(Context& context) {
  const std::string_view pattern = context.arguments[1];
  const std::size_t mark = context.reply.mark();
  std::size_t found = 0;
  for (std::size_t i = 0; i < context.store().shards(); ++i) {
    context.store().lock_shard(i)->for_each(context.now, [&](std::string_view key, const Entry&) {
      if (!glob_match(pattern, key)) return;
      context.reply.bulk(key);
      ++found;
    });
    fiber::yield();  // a shard can be large, and others want to run
  }
  context.reply.array_from(mark, found);
}

void command_expire(Context& context) { expire(context, 1000, context.now); }
void command_pexpire(Context& context) { expire(context, 1, context.now); }
void command_expireat(Context& context) { expire(context, 1000, 0); }
void command_pexpireat(Context& context) { expire(context, 1, 0); }
void command_ttl(Context& context) { time_to_live(context, 1000); }
void command_pttl(Context& context) { time_to_live(context, 1); }

void command_persist(Context& context) {
  const HashedKey key = Store::hash(context.arguments[1]);
  const auto shard = context.store().lock(key);
  const Entry* entry = shard->find(key, context.now);
  const bool had = entry != nullptr && entry->expires != kNever;
  if (had) {
    shard->set_expiry(key, kNever);
    context.record({.type = RecordType::expire, .key = key.text, .expires = kNever});
  }
  context.reply.integer(had ? 1 : 0);
}

void command_dbsize(Context& context) { context.reply.integer(static_cast<std::int64_t>(context.store().size())); }

void command_flushall(Context& context) {
  // ASYNC and SYNC are both how it is done here: at once for every reader, the memory is freed after the locks.
  const auto how = context.arguments.subspan(1);
  if (how.size() > 1 ||
      (how.size() == 1 && !equals_ignoring_case(how[0], "async") && !equals_ignoring_case(how[0], "sync"))) {
    context.reply.error(kSyntaxError);
    return;
  }
  context.store().clear([&] { context.record({.type = RecordType::clear}); });
  context.reply.ok();
}

}  // namespace kvd
