// SPDX-License-Identifier: BSD-2-Clause
// The messages of profile.proto that stand for themselves, each read into numbers: string indices and ids are as they
// are in the file, for the caller to check.
#pragma once

#include <cstdint>
#include <protozero/pbf_reader.hpp>
#include <string>
#include <vector>

namespace fiberprof::pprof {

using protozero::data_view;
using protozero::pbf_reader;

// What is wrong with a recording. Thrown here, caught in decode(); so is protozero::exception.
struct Bad {
  std::string why;
};
[[noreturn]] void bad(std::string why);

// protozero leaves the check of a field's wire type to the caller.
uint64_t number(pbf_reader& reader);
inline int64_t signed_number(pbf_reader& reader) { return static_cast<int64_t>(number(reader)); }
data_view message(pbf_reader& reader);
// A repeated number, packed or one at a time.
template <class Visit>
void numbers(pbf_reader& reader, Visit visit) {
  if (reader.wire_type() == protozero::pbf_wire_type::length_delimited) {
    for (const uint64_t value : reader.get_packed_uint64()) visit(value);
  } else {
    visit(number(reader));
  }
}

template <class T>
void bounded(const std::vector<T>& table, size_t limit, const char* name) {
  if (table.size() >= limit) bad(std::string("more than ") + std::to_string(limit) + " " + name);
}

struct ValueTypeMessage {
  uint64_t name = 0, unit = 0;
};
struct MappingMessage {
  uint64_t id = 0, start = 0, limit = 0, offset = 0, file = 0, build_id = 0;
};
struct FunctionMessage {
  uint64_t id = 0, name = 0, file = 0;
};
struct LineMessage {
  uint64_t function = 0;
  int64_t number = 0;
};
struct LocationMessage {
  uint64_t id = 0, mapping = 0, address = 0;
  std::vector<LineMessage> lines;
};
struct LabelMessage {
  uint64_t key = 0, text = 0;
  int64_t number = 0;
};

ValueTypeMessage value_type_of(data_view bytes);
MappingMessage mapping_of(data_view bytes);
FunctionMessage function_of(data_view bytes);
LocationMessage location_of(data_view bytes);  // of at most 1,024 lines
LabelMessage label_of(data_view bytes);

}  // namespace fiberprof::pprof
