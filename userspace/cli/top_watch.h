// SPDX-License-Identifier: BSD-2-Clause
// One process being watched: the kernel's counts, the registry and the symbols, brought together for `top`.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cli/census_pace.h"
#include "cli/top_source.h"
#include "process/registry_view.h"
#include "render/top_model.h"
#include "session/complete_stacks.h"
#include "session/session.h"
#include "support/error.h"
#include "symbol/symbolizer.h"

namespace fiberprof {

class TopWatch final : public TopSource {
 public:
  // `target`: a PID, a name, or empty when there is only one process on fibers. Attaches. `options` without
  // processes. Errors say what to do.
  static Result<std::unique_ptr<TopWatch>> start(const std::string& target, SessionOptions options, bool all_frames);

  Result<void> refresh() override;
  TopModel model(TopBuilder::Group group, bool since_start) override;
  void reset() override { builder_.reset(); }
  bool alive() const override { return session_.alive() != 0; }
  std::vector<int> fds() const override { return alive() ? session_.pidfds() : std::vector<int>(); }
  bool woken() override { return true; }  // it has ended
  const std::vector<std::string>& warnings() const { return session_.warnings(); }
  std::string name() const { return process_.name + " (" + std::to_string(process_.pid) + ")"; }

 private:
  void look_for_deadlocks();
  TopWatch(FiberProcess process, Session session, Tier tier, bool all_frames);

  FiberProcess process_;
  Session session_;
  TopBuilder builder_;
  bool all_frames_;
  std::unique_ptr<RegistryView> registry_;                       // null: none, or not readable
  std::map<uint32_t, std::unique_ptr<ProcessSymbols>> symbols_;  // empty: not readable
  CensusPace pace_;
  CensusPace deadlock_pace_{2};    // a quarter of a hundredth of one CPU
  bool may_be_deadlocked_ = true;  // by the last count of the fibers
  TopDeadlock deadlock_;           // what was found last; it stays
};

}  // namespace fiberprof
