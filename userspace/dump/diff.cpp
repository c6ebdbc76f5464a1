// SPDX-License-Identifier: BSD-2-Clause
#include "dump/diff.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>

#include "support/text.h"
#include "support/unique_fd.h"

namespace fiberprof {
namespace {

using nlohmann::json;

constexpr uint64_t kMaxBytes = 1ULL << 30;
constexpr uint64_t kFormat = 1;

struct Side {
  DiffSide about;
  bool all_frames = false;
  std::map<std::string, DiffGroup> groups;  // by key; counts in `now`
};

tl::unexpected<Error> bad(const std::string& path, std::string why, std::string hint = {}) {
  return fail("cannot compare " + path, std::move(why), std::move(hint));
}

Result<std::string> contents(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!fd || fstat(fd.get(), &info) != 0) return bad(path, std::strerror(errno));
  if (S_ISDIR(info.st_mode)) return bad(path, "it is a directory");
  std::string text;
  for (;;) {
    const size_t done = text.size();
    if (done > kMaxBytes) return bad(path, "it is too big", "dumps made with --group are small");
    text.resize(done + (1U << 20));
    const ssize_t got = ::read(fd.get(), text.data() + done, text.size() - done);
    text.resize(done + static_cast<size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return bad(path, std::strerror(errno));
    if (got == 0) return text;
  }
}

// Values of a field, and something harmless where it is missing or of another kind.
std::string text_at(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}
uint64_t number_at(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_number_unsigned() ? found->get<uint64_t>() : 0;
}
bool flag_at(const json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_boolean() && found->get<bool>();
}
const json& part_at(const json& object, const char* key) {
  static const json kNone;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() ? *found : kNone;
}

Frame frame_of(const json& object) {
  Frame frame;
  frame.function = text_at(object, "function");
  frame.file = text_at(object, "file");
  frame.line = static_cast<uint32_t>(std::min<uint64_t>(number_at(object, "line"), UINT32_MAX));
  frame.binary = text_at(object, "binary");
  frame.inlined = flag_at(object, "inlined");
  frame.runtime = flag_at(object, "runtime");
  return frame;
}

// Without the offset where only the binary is known.
std::string name_of(const Frame& frame) { return frame.function.substr(0, frame.function.find("+0x")); }

void add(const json& item, uint64_t count, uint64_t age_ns, Side& side) {
  DiffGroup group;
  group.state = text_at(item, "state");
  if (group.state == "running" || group.state == "runnable") return;
  group.reason = text_at(item, "reason");
  group.name = text_at(item, "name");
  if (const json& site = part_at(item, "spawned_at"); site.is_object()) group.site = frame_of(site);
  for (const json& frame : part_at(item, "stack")) group.stack.push_back(frame_of(frame));
  std::string key = group.state + '\n' + group.reason + '\n' + (group.site ? name_of(*group.site) : "") + '\n';
  for (const Frame& frame : group.stack) key += name_of(frame) + '\n';
  const auto [entry, fresh] = side.groups.try_emplace(std::move(key));
  if (fresh) {
    entry->second = std::move(group);
  } else if (entry->second.name != group.name) {
    entry->second.name.clear();
  }
  entry->second.now += count;
  entry->second.oldest_ns = std::max(entry->second.oldest_ns, age_ns);
}

Result<Side> load(const std::string& path) {
  const auto text = contents(path);
  if (!text) return tl::unexpected(text.error());
  if (text->starts_with("\x1f\x8b"))
    return bad(path, "it is a recording", "fiberprof diff compares dumps: fiberprof dump PID --group --json > FILE");
  const json dump = json::parse(*text, nullptr, false);
  if (!dump.is_object() || number_at(dump, "dump") == 0)
    return bad(path, "it is not a dump in JSON", "make it with fiberprof dump PID --group --json > FILE");
  if (number_at(dump, "dump") != kFormat)
    return bad(path, "it is of format " + std::to_string(number_at(dump, "dump")) + ", this fiberprof reads format " +
                         std::to_string(kFormat));
  if (!part_at(dump, "groups").is_array() && !part_at(dump, "fibers").is_array())
    return bad(path, "it has neither groups nor fibers", "make it without --by");
  Side side;
  side.about.path = path;
  side.about.process = text_at(part_at(dump, "process"), "name");
  side.about.pid = number_at(part_at(dump, "process"), "pid");
  side.about.taken_unix_ns = number_at(dump, "taken_unix_ns");
  side.about.fibers = number_at(dump, "fibers_total");
  side.about.complete = flag_at(dump, "complete");
  side.all_frames = flag_at(dump, "all_frames");
  for (const json& group : part_at(dump, "groups"))
    add(group, number_at(group, "count"), number_at(group, "oldest_ns"), side);
  for (const json& fiber : part_at(dump, "fibers")) add(fiber, 1, number_at(fiber, "age_ns"), side);
  return side;
}

bool is_over(const DiffGroup& group, const DiffLimits& limits) {
  if (!limits.percent || group.now < limits.least || group.now <= group.base) return false;
  return static_cast<double>(group.now) > static_cast<double>(group.base) * (1 + *limits.percent / 100);
}

}  // namespace

Result<DumpDiff> diff_dumps(const std::string& base_path, const std::string& now_path, const DiffLimits& limits) {
  auto base = load(base_path);
  if (!base) return tl::unexpected(base.error());
  auto now = load(now_path);
  if (!now) return tl::unexpected(now.error());
  if (base->all_frames != now->all_frames)
    return fail("cannot compare " + base_path + " with " + now_path, "one shows all frames and the other does not");
  DumpDiff diff{base->about, now->about, {}, 0, 0};
  for (auto& [key, group] : now->groups) {
    const auto before = base->groups.find(key);
    group.base = before != base->groups.end() ? before->second.now : 0;
    group.over = is_over(group, limits);
    diff.over += group.over;
    if (group.now == group.base)
      ++diff.same;
    else
      diff.changed.push_back(std::move(group));
  }
  for (auto& [key, group] : base->groups) {
    if (now->groups.contains(key)) continue;
    group.base = std::exchange(group.now, 0);
    diff.changed.push_back(std::move(group));
  }
  const auto change = [](const DiffGroup& group) {
    return group.now > group.base ? group.now - group.base : group.base - group.now;
  };
  std::stable_sort(diff.changed.begin(), diff.changed.end(), [&](const DiffGroup& a, const DiffGroup& b) {
    return std::tuple(b.over, b.now > b.base, change(b)) < std::tuple(a.over, a.now > a.base, change(a));
  });
  return diff;
}

}  // namespace fiberprof
