// SPDX-License-Identifier: BSD-2-Clause
// Field numbers of pprof's profile.proto (github.com/google/pprof, proto/profile.proto), and what fiberprof puts
// into it. One place for the writer and the reader.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "profile/profile.h"
#include "support/error.h"

namespace fiberprof::pprof {

enum ProfileField : uint32_t {
  kSampleType = 1,
  kSample = 2,
  kMapping = 3,
  kLocation = 4,
  kFunction = 5,
  kStringTable = 6,
  kTimeNanos = 9,
  kDurationNanos = 10,
  kPeriodType = 11,
  kPeriod = 12,
  kComment = 13,
  kDefaultSampleType = 14,
};
enum ValueTypeField : uint32_t { kTypeName = 1, kTypeUnit = 2 };
enum SampleField : uint32_t { kSampleLocation = 1, kSampleValue = 2, kSampleLabel = 3 };
enum LabelField : uint32_t { kLabelKey = 1, kLabelText = 2, kLabelNumber = 3 };
enum MappingField : uint32_t {
  kMappingId = 1,
  kMappingStart = 2,
  kMappingLimit = 3,
  kMappingOffset = 4,
  kMappingFile = 5,
  kMappingBuildId = 6,
  kMappingHasFunctions = 7,
  kMappingHasFilenames = 8,
  kMappingHasLines = 9,
  kMappingHasInlines = 10,
};
enum LocationField : uint32_t { kLocationId = 1, kLocationMapping = 2, kLocationAddress = 3, kLocationLine = 4 };
enum LineField : uint32_t { kLineFunction = 1, kLineNumber = 2 };
enum FunctionField : uint32_t { kFunctionId = 1, kFunctionName = 2, kFunctionSystemName = 3, kFunctionFile = 4 };

struct ValueType {
  std::string_view name, unit;
};
// A wait counts under blocked (and queued, its last part), never also under off-cpu: summing one type over a file is
// always meaningful. Idle workers have their own type, so healthy idleness is never added to blocking.
// `runnable` is the part of off-cpu and idle that a thread waited for a CPU.
inline constexpr size_t kWaits = 0, kBlocked = 1, kQueued = 2, kLongest = 3, kSwitches = 4, kOffCpu = 5, kIdle = 6,
                        kSamples = 7, kCpu = 8, kRunnable = 9;
inline constexpr std::array<ValueType, 10> kValueTypes{{{"waits", "count"},
                                                        {"blocked", "nanoseconds"},
                                                        {"queued", "nanoseconds"},
                                                        {"longest", "nanoseconds"},
                                                        {"switches", "count"},
                                                        {"off-cpu", "nanoseconds"},
                                                        {"idle", "nanoseconds"},
                                                        {"samples", "count"},
                                                        {"cpu", "nanoseconds"},
                                                        {"runnable", "nanoseconds"}}};
inline constexpr std::string_view kDefaultType = "blocked";

inline constexpr std::string_view kLabelKind = "kind", kLabelReason = "reason", kLabelProcess = "process",
                                  kLabelPid = "pid", kLabelName = "name";

// Chains (Profile::chains). Other viewers show a wait's own stack as it was, so that their sums by function stay right;
// what they can use of its chain is the text label "waker" (pprof -tagfocus, -tagleaf=waker). The whole of it is for
// fiberprof: every step is a sample of its own, with its stack, the kind "cause", and no value, which viewers leave
// out. "chain" numbers the chains from 1, "step" what comes after what.
inline constexpr std::string_view kLabelWaker = "waker", kLabelChain = "chain", kLabelStep = "step";
inline constexpr std::string_view kKindCause = "cause";

// The comment with what pprof has no field for. pprof hides comments that begin with '#' in its reports.
inline constexpr std::string_view kExtrasPrefix = "#fiberprof ";

std::string_view kind_name(SampleKind kind);
bool kind_from_name(std::string_view name, SampleKind& kind);
bool cause_from_name(std::string_view name, CauseKind& kind);

// Everything of `profile` outside of frames and samples, histograms by sample, and `runtime_functions` (ids of the
// pprof functions that belong to the runtime) as one JSON line.
std::string encode_extras(const Profile& profile, const std::vector<uint64_t>& runtime_functions);
// Fills `profile` from it; wrong or missing members are left at their defaults. `runtime_functions` is appended to.
// Errors: not JSON, not an object, a newer format.
Result<void> decode_extras(std::string_view json, Profile& profile, std::vector<uint64_t>& runtime_functions);

std::string encode(const Profile& profile);      // uncompressed profile.proto
Result<Profile> decode(std::string_view bytes);  // of uncompressed profile.proto; Error has only `why`

}  // namespace fiberprof::pprof
