// SPDX-License-Identifier: BSD-2-Clause
// Chains of wake-ups as people read them.
#pragma once

#include <string>
#include <vector>

#include "profile/profile.h"

namespace fiberprof {

// The chain of a sample; null: who ended its waits is not known.
const Chain* chain_of(const Profile& profile, const Sample& sample);

// Who ended the waits of a sample: the function of the program that did, "timer", "network", "thread NAME"; "(not
// ended)" for waits in flight, "(not known)". Not sanitized.
std::string waker_name(const Profile& profile, const Sample& sample);

// What had held the waker up, and so on: "which waited for io read in Store::load, woken by network". Empty when
// nothing had. Sanitized.
std::string cause_line(const Profile& profile, const Chain& chain);

// A step of a picture, from a wait towards its cause.
struct ChainStep {
  enum class Kind { separator, waker, wait, reason };
  Kind kind{};
  std::string name;    // a function, or what a separator or a reason says; not sanitized
  std::string place;   // "log.cpp:42"
  std::string reason;  // wait, reason: of which wait it is part
};

// The waker's stack turned round, then the stack of what it had waited for as it is, and so on.
std::vector<ChainStep> chain_steps(const Profile& profile, const Chain& chain, bool all_frames);

}  // namespace fiberprof
