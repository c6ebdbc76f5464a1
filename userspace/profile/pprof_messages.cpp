// SPDX-License-Identifier: BSD-2-Clause
#include "profile/pprof_messages.h"

#include "profile/pprof_format.h"

namespace fiberprof::pprof {

void bad(std::string why) { throw Bad{std::move(why)}; }

uint64_t number(pbf_reader& reader) {
  if (reader.wire_type() != protozero::pbf_wire_type::varint) bad("damaged profile (a field of the wrong type)");
  return reader.get_uint64();
}

data_view message(pbf_reader& reader) {
  if (reader.wire_type() != protozero::pbf_wire_type::length_delimited)
    bad("damaged profile (a field of the wrong type)");
  return reader.get_view();
}

namespace {

constexpr size_t kMaxLinesPerLocation = 1024;

// A message of numbers alone: where each of its fields goes. Fields that are not named are skipped.
struct NumberField {
  uint32_t tag;
  uint64_t& to;
};

void read_numbers(data_view bytes, std::initializer_list<NumberField> fields) {
  pbf_reader reader(bytes);
  while (reader.next()) {
    const NumberField* known = nullptr;
    for (const NumberField& field : fields)
      if (field.tag == reader.tag()) known = &field;
    if (known)
      known->to = number(reader);
    else
      reader.skip();
  }
}

LineMessage line_of(data_view bytes) {
  LineMessage result;
  uint64_t line = 0;
  read_numbers(bytes, {{kLineFunction, result.function}, {kLineNumber, line}});
  result.number = static_cast<int64_t>(line);
  return result;
}

}  // namespace

ValueTypeMessage value_type_of(data_view bytes) {
  ValueTypeMessage result;
  read_numbers(bytes, {{kTypeName, result.name}, {kTypeUnit, result.unit}});
  return result;
}

MappingMessage mapping_of(data_view bytes) {
  MappingMessage result;
  read_numbers(bytes, {{kMappingId, result.id},
                       {kMappingStart, result.start},
                       {kMappingLimit, result.limit},
                       {kMappingOffset, result.offset},
                       {kMappingFile, result.file},
                       {kMappingBuildId, result.build_id}});
  return result;
}

FunctionMessage function_of(data_view bytes) {
  FunctionMessage result;
  read_numbers(bytes, {{kFunctionId, result.id}, {kFunctionName, result.name}, {kFunctionFile, result.file}});
  return result;
}

LocationMessage location_of(data_view bytes) {
  pbf_reader reader(bytes);
  LocationMessage result;
  while (reader.next()) {
    switch (reader.tag()) {
      case kLocationId:
        result.id = number(reader);
        break;
      case kLocationMapping:
        result.mapping = number(reader);
        break;
      case kLocationAddress:
        result.address = number(reader);
        break;
      case kLocationLine:
        bounded(result.lines, kMaxLinesPerLocation, "lines at one location");
        result.lines.push_back(line_of(message(reader)));
        break;
      default:
        reader.skip();
    }
  }
  return result;
}

LabelMessage label_of(data_view bytes) {
  LabelMessage result;
  uint64_t value = 0;
  read_numbers(bytes, {{kLabelKey, result.key}, {kLabelText, result.text}, {kLabelNumber, value}});
  result.number = static_cast<int64_t>(value);
  return result;
}

}  // namespace fiberprof::pprof
