// SPDX-License-Identifier: BSD-2-Clause
// The format of the append-only log.
//
//   file    FileHeader, then groups
//   group   GroupHeader, then `length` bytes of records
//   record  type (1 byte), expiry (8), key length (4), value length (4), key, value
//
// All numbers are little-endian. A group is what one sync makes durable, and the next group is written only after that
// sync. So after a crash only the last group can be incomplete, in whatever way the disk left it: whole blocks may be
// missing in its middle. A bad group followed by a good one is therefore not the trace of a crash but damage. The
// random salt of the file is part of every header's checksum: bytes that a client stored, even a copy of a log,
// cannot pass for a header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "clock.h"

namespace kvd {

struct FileHeader {
  static constexpr std::string_view kMagic = "fiberkvd";
  static constexpr std::uint32_t kVersion = 1;
  static constexpr std::size_t kSize = 24;
  std::uint64_t salt = 0;

  std::string encode() const;
  // False when that is not the header of a log of this version.
  bool decode(std::string_view bytes);
};

struct GroupHeader {
  static constexpr std::uint32_t kMagic = 0x50524721;  // "!GRP"
  static constexpr std::size_t kSize = 24;
  std::uint64_t number = 0;  // 0, 1, 2, ... in a file
  std::uint32_t length = 0;  // of the records behind it
  std::uint32_t checksum = 0;

  void encode(std::uint64_t salt, char* out) const;  // kSize bytes
  bool decode(std::string_view bytes, std::uint64_t salt);
};

enum class RecordType : std::uint8_t {
  set = 1,     // key, value and expiry, whatever was there
  erase = 2,   // key
  expire = 3,  // the expiry of a key that is there
  append = 4,  // more value for a key that is there
  clear = 5,   // everything
};

struct Record {
  RecordType type;
  std::string_view key = {};
  std::string_view value = {};
  Milliseconds expires = kNever;
};

// Appends the record to `out`.
void encode(const Record& record, std::string& out);
// Takes one record off the front of `bytes`, which it then points into. False when there is no whole, known record.
bool decode(std::string_view& bytes, Record& record);

}  // namespace kvd
