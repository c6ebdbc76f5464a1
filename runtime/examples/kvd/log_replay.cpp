// SPDX-License-Identifier: BSD-2-Clause
#include "log_replay.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "crc32c.h"

namespace kvd {

namespace {

// Reads exactly `size` bytes; false at the end of the file or on an error, which errno tells (0: the end).
bool read_at(int fd, std::uint64_t offset, char* out, std::size_t size) {
  while (size > 0) {
    const ssize_t got = ::pread(fd, out, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got == 0) errno = 0;
    if (got <= 0) return false;
    out += got;
    offset += static_cast<std::uint64_t>(got);
    size -= static_cast<std::size_t>(got);
  }
  return true;
}

// Whether the header of a group later than `number` stands anywhere in [from, end).
bool later_group(int fd, std::uint64_t from, std::uint64_t end, std::uint64_t salt, std::uint64_t number) {
  constexpr std::size_t kChunk = 1u << 20;
  char magic[sizeof GroupHeader::kMagic];
  std::memcpy(magic, &GroupHeader::kMagic, sizeof magic);
  std::string chunk;
  while (end - from >= GroupHeader::kSize) {
    chunk.resize(std::min<std::uint64_t>(kChunk, end - from));
    if (!read_at(fd, from, chunk.data(), chunk.size())) return false;
    for (std::size_t at = chunk.find(magic, 0, sizeof magic); at != std::string::npos;
         at = chunk.find(magic, at + 1, sizeof magic)) {
      GroupHeader header;
      if (header.decode(std::string_view(chunk).substr(at), salt) && header.number > number) return true;
    }
    if (chunk.size() < kChunk) return false;
    from += chunk.size() - (GroupHeader::kSize - 1);  // a header may lie across two chunks
  }
  return false;
}

}  // namespace

ReplayResult replay(int fd, const std::function<void(const Record&)>& apply_record) {
  ReplayResult result;
  struct stat status {};
  char header_bytes[FileHeader::kSize];
  FileHeader file;
  if (::fstat(fd, &status) != 0 || !read_at(fd, 0, header_bytes, sizeof header_bytes)) {
    result.error = std::string("cannot be read: ") + (errno == 0 ? "too short" : std::strerror(errno));
    return result;
  }
  if (!file.decode({header_bytes, sizeof header_bytes})) {
    result.error = "is not a log of this version of fiber-kvd; choose another file";
    return result;
  }
  result.salt = file.salt;
  const auto size = static_cast<std::uint64_t>(status.st_size);
  std::uint64_t at = FileHeader::kSize;
  std::string payload;
  while (at < size) {
    char bytes[GroupHeader::kSize];
    GroupHeader group;
    bool good = size - at >= sizeof bytes && read_at(fd, at, bytes, sizeof bytes) &&
                group.decode({bytes, sizeof bytes}, file.salt) && group.number == result.groups &&
                group.length <= size - at - sizeof bytes;
    if (good) {
      payload.resize(group.length);
      good = read_at(fd, at + sizeof bytes, payload.data(), payload.size()) && crc32c(payload) == group.checksum;
    }
    if (!good) break;
    std::string_view rest = payload;
    Record record{};
    while (decode(rest, record)) {
      apply_record(record);
      ++result.records;
    }
    if (!rest.empty()) {
      result.error =
          "has a record of an unknown kind at byte " + std::to_string(at) + "; was it written by a newer fiber-kvd?";
      return result;
    }
    ++result.groups;
    at += sizeof bytes + group.length;
  }
  result.good_bytes = at;
  result.torn_bytes = size - at;
  if (at < size && later_group(fd, at + 1, size, file.salt, result.groups)) {
    result.error = "is damaged at byte " + std::to_string(at) +
                   ": good data follows, so this is not the trace of a crash. Restore the file from a copy, or cut it "
                   "there to start with what comes before";
  }
  return result;
}

void apply(const Record& record, Store& store) {
  // Expired entries must stay until the end: later records say what became of them. So time stands still here.
  constexpr Milliseconds kBeginning = std::numeric_limits<Milliseconds>::min();
  if (record.type == RecordType::clear) {
    store.clear([] {});
    return;
  }
  const HashedKey key = Store::hash(record.key);
  const Store::Locked shard = store.lock(key);
  switch (record.type) {
    case RecordType::set:
      shard->set(key, record.value, record.expires);
      break;
    case RecordType::erase:
      shard->erase(key, kBeginning);
      break;
    case RecordType::expire:
      shard->set_expiry(key, record.expires);
      break;
    case RecordType::append:
      if (Entry* entry = shard->find(key, kBeginning)) entry->value += record.value;
      break;
    case RecordType::clear:
      break;
  }
}

}  // namespace kvd
