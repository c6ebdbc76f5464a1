// SPDX-License-Identifier: BSD-2-Clause
#include <algorithm>
#include <limits>
#include <map>
#include <protozero/pbf_writer.hpp>
#include <tuple>
#include <unordered_map>

#include "profile/losses.h"
#include "profile/pprof_format.h"

namespace fiberprof::pprof {
namespace {

int64_t clamp(uint64_t value) {
  return static_cast<int64_t>(std::min<uint64_t>(value, std::numeric_limits<int64_t>::max()));
}

// Collects the tables of a profile while samples refer to them. Ids start at 1; 0 means "none" in pprof.
class Encoder {
 public:
  explicit Encoder(const Profile& profile) : profile_(profile), out_(bytes_) { string(""); }

  std::string run() {
    for (const ValueType& type : kValueTypes) value_type(kSampleType, type);
    for (const Sample& sample : profile_.samples) add(sample);
    out_.add_int64(kTimeNanos, clamp(profile_.start_unix_ns));
    out_.add_int64(kDurationNanos, clamp(profile_.duration_ns));
    value_type(kPeriodType, kValueTypes[kBlocked]);
    out_.add_int64(kPeriod, 1);
    out_.add_int64(kDefaultSampleType, string(kDefaultType));
    out_.add_int64(kComment, string(summary()));
    out_.add_int64(kComment, string(std::string(kExtrasPrefix) + encode_extras(profile_, runtime_functions_)));
    for (const std::string* text : strings_in_order_) out_.add_string(kStringTable, *text);
    return std::move(bytes_);
  }

 private:
  // What `pprof` prints at the head of its reports.
  std::string summary() const {
    std::string text = "fiberprof: waits of fibers, " + profile_.target;
    if (!profile_.host.empty()) text += " on " + profile_.host;
    if (!profile_.tier.empty()) text += ", " + profile_.tier;
    uint64_t lost = 0;
    for (const auto& [cause, events] : profile_.losses) lost += is_lost(cause) ? events : 0;
    if (lost != 0) text += ", " + std::to_string(lost) + " events lost";
    std::replace(text.begin(), text.end(), '\n', ' ');
    return text;
  }

  int64_t string(std::string_view text) {
    const auto [slot, inserted] = strings_.try_emplace(std::string(text), static_cast<int64_t>(strings_.size()));
    if (inserted) strings_in_order_.push_back(&slot->first);
    return slot->second;
  }

  void value_type(uint32_t field, const ValueType& type) {
    protozero::pbf_writer message(out_, field);
    message.add_int64(kTypeName, string(type.name));
    message.add_int64(kTypeUnit, string(type.unit));
  }

  uint64_t mapping(const ProfileFrame& frame) {
    if (frame.binary.empty()) return 0;
    auto key =
        std::make_tuple(frame.binary, frame.build_id, frame.mapping_start, frame.mapping_end, frame.mapping_offset);
    const auto [slot, inserted] = mappings_.try_emplace(std::move(key), mappings_.size() + 1);
    if (!inserted) return slot->second;
    const int64_t file = string(frame.binary), build_id = string(frame.build_id);
    protozero::pbf_writer message(out_, kMapping);
    message.add_uint64(kMappingId, slot->second);
    message.add_uint64(kMappingStart, frame.mapping_start);
    message.add_uint64(kMappingLimit, frame.mapping_end);
    message.add_uint64(kMappingOffset, frame.mapping_offset);
    message.add_int64(kMappingFile, file);
    message.add_int64(kMappingBuildId, build_id);
    // All said: viewers must not try to symbolize again with binaries that may not be there.
    message.add_bool(kMappingHasFunctions, true);
    message.add_bool(kMappingHasFilenames, true);
    message.add_bool(kMappingHasLines, true);
    message.add_bool(kMappingHasInlines, true);
    return slot->second;
  }

  uint64_t function(const ProfileFrame& frame) {
    auto key = std::make_tuple(frame.function, frame.file, frame.runtime);
    const auto [slot, inserted] = functions_.try_emplace(std::move(key), functions_.size() + 1);
    if (!inserted) return slot->second;
    if (frame.runtime) runtime_functions_.push_back(slot->second);
    const int64_t name = string(frame.function), file = string(frame.file);
    protozero::pbf_writer message(out_, kFunction);
    message.add_uint64(kFunctionId, slot->second);
    message.add_int64(kFunctionName, name);
    message.add_int64(kFunctionSystemName, name);
    message.add_int64(kFunctionFile, file);
    return slot->second;
  }

  // One address: frames inlined into it first, the function that really is there last.
  uint64_t location(const std::vector<uint32_t>& group) {
    const auto [slot, inserted] = locations_.try_emplace(group, locations_.size() + 1);
    if (!inserted) return slot->second;
    const ProfileFrame& outer = profile_.frames[group.back()];
    const uint64_t mapping_id = mapping(outer);
    std::vector<std::pair<uint64_t, uint32_t>> lines;
    for (const uint32_t index : group)
      lines.emplace_back(function(profile_.frames[index]), profile_.frames[index].line);
    protozero::pbf_writer message(out_, kLocation);
    message.add_uint64(kLocationId, slot->second);
    if (mapping_id != 0) message.add_uint64(kLocationMapping, mapping_id);
    message.add_uint64(kLocationAddress, outer.address);
    for (const auto& [function_id, number] : lines) {
      protozero::pbf_writer line(message, kLocationLine);
      line.add_uint64(kLineFunction, function_id);
      line.add_int64(kLineNumber, number);
    }
    return slot->second;
  }

  void add(const Sample& sample) {
    std::vector<uint64_t> ids;
    std::vector<uint32_t> group;
    for (const uint32_t index : sample.frames) {
      if (index >= profile_.frames.size()) continue;
      group.push_back(index);
      if (profile_.frames[index].inlined) continue;
      ids.push_back(location(group));
      group.clear();
    }
    if (!group.empty()) ids.push_back(location(group));

    std::array<int64_t, kValueTypes.size()> values{};
    values[kLongest] = clamp(sample.max_ns);
    if (sample.kind == SampleKind::blocked || sample.kind == SampleKind::open) {
      values[kWaits] = clamp(sample.count);
      values[kBlocked] = clamp(sample.total_ns);
      values[kQueued] = clamp(sample.queued_ns);
    } else if (sample.kind == SampleKind::on_cpu) {
      values[kSamples] = clamp(sample.count);
      values[kCpu] = clamp(sample.total_ns);
    } else {
      values[kSwitches] = clamp(sample.count);
      values[kRunnable] = clamp(sample.queued_ns);
      values[sample.kind == SampleKind::idle ? kIdle : kOffCpu] = clamp(sample.total_ns);
    }
    struct Text {
      std::string_view key, value;
    };
    std::vector<std::pair<int64_t, int64_t>> labels;
    for (const Text& each : {Text{kLabelKind, kind_name(sample.kind)}, Text{kLabelReason, sample.reason},
                             Text{kLabelProcess, sample.process}, Text{kLabelName, sample.name}}) {
      if (!each.value.empty()) labels.emplace_back(string(each.key), string(each.value));
    }
    const int64_t pid_key = string(kLabelPid);
    protozero::pbf_writer message(out_, kSample);
    message.add_packed_uint64(kSampleLocation, ids.begin(), ids.end());
    message.add_packed_int64(kSampleValue, values.begin(), values.end());
    for (const auto& [key, value] : labels) {
      protozero::pbf_writer label(message, kSampleLabel);
      label.add_int64(kLabelKey, key);
      label.add_int64(kLabelText, value);
    }
    protozero::pbf_writer label(message, kSampleLabel);
    label.add_int64(kLabelKey, pid_key);
    label.add_int64(kLabelNumber, sample.pid);
  }

  const Profile& profile_;
  std::string bytes_;
  protozero::pbf_writer out_;
  std::unordered_map<std::string, int64_t> strings_;
  std::vector<const std::string*> strings_in_order_;
  std::map<std::tuple<std::string, std::string, uint64_t, uint64_t, uint64_t>, uint64_t> mappings_;
  std::map<std::tuple<std::string, std::string, bool>, uint64_t> functions_;
  std::map<std::vector<uint32_t>, uint64_t> locations_;
  std::vector<uint64_t> runtime_functions_;
};

}  // namespace

std::string encode(const Profile& profile) { return Encoder(profile).run(); }

}  // namespace fiberprof::pprof
