// SPDX-License-Identifier: BSD-2-Clause
#include "log_format.h"

#include <bit>
#include <cstring>

#include "crc32c.h"

namespace kvd {

namespace {

static_assert(std::endian::native == std::endian::little, "the log is written in the machine's own byte order");

template <class T>
void put(char*& out, T value) {
  std::memcpy(out, &value, sizeof value);
  out += sizeof value;
}

template <class T>
T get(const char*& in) {
  T value;
  std::memcpy(&value, in, sizeof value);
  in += sizeof value;
  return value;
}

std::uint32_t salted(std::uint64_t salt, std::string_view bytes) {
  return crc32c(bytes, crc32c({reinterpret_cast<const char*>(&salt), sizeof salt}));
}

constexpr std::size_t kRecordHeader = 1 + 8 + 4 + 4;

}  // namespace

std::string FileHeader::encode() const {
  std::string bytes(kSize, '\0');
  std::memcpy(bytes.data(), kMagic.data(), kMagic.size());
  char* out = bytes.data() + kMagic.size();
  put(out, kVersion);
  put(out, salted(salt, std::string_view(bytes.data(), kMagic.size() + sizeof kVersion)));
  put(out, salt);
  return bytes;
}

bool FileHeader::decode(std::string_view bytes) {
  if (bytes.size() < kSize) return false;
  std::memcpy(&salt, bytes.data() + kSize - sizeof salt, sizeof salt);
  return bytes.substr(0, kSize) == encode();
}

void GroupHeader::encode(std::uint64_t salt, char* out) const {
  char* const start = out;
  put(out, kMagic);
  put(out, length);
  put(out, number);
  put(out, checksum);
  put(out, salted(salt, {start, kSize - sizeof(std::uint32_t)}));
}

bool GroupHeader::decode(std::string_view bytes, std::uint64_t salt) {
  if (bytes.size() < kSize) return false;
  const char* in = bytes.data();
  const bool magic = get<std::uint32_t>(in) == kMagic;
  length = get<std::uint32_t>(in);
  number = get<std::uint64_t>(in);
  checksum = get<std::uint32_t>(in);
  return magic && get<std::uint32_t>(in) == salted(salt, bytes.substr(0, kSize - sizeof(std::uint32_t)));
}

void encode(const Record& record, std::string& out) {
  char header[kRecordHeader];
  char* end = header;
  put(end, record.type);
  put(end, record.expires);
  put(end, static_cast<std::uint32_t>(record.key.size()));
  put(end, static_cast<std::uint32_t>(record.value.size()));
  out.append(header, sizeof header);
  out.append(record.key);
  out.append(record.value);
}

bool decode(std::string_view& bytes, Record& record) {
  if (bytes.size() < kRecordHeader) return false;
  const char* in = bytes.data();
  record.type = get<RecordType>(in);
  record.expires = get<Milliseconds>(in);
  const std::size_t key = get<std::uint32_t>(in), value = get<std::uint32_t>(in);
  if (record.type < RecordType::set || record.type > RecordType::clear) return false;
  if (bytes.size() - kRecordHeader < key + value) return false;
  record.key = bytes.substr(kRecordHeader, key);
  record.value = bytes.substr(kRecordHeader + key, value);
  bytes.remove_prefix(kRecordHeader + key + value);
  return true;
}

}  // namespace kvd
