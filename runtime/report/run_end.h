// SPDX-License-Identifier: BSD-2-Clause
// What set_leak_hook (fiber/leaks.h) asks of the end of a run, step by step.
#pragma once

#include <memory>
#include <vector>

#include "fiber/leaks.h"

namespace fiber::detail {

class RunEnd {
 public:
  // In the main fiber, once the function it runs has returned: takes the hook in force, and waits for the others.
  void let_others_end();
  // When nothing runs any more and nothing has been abandoned yet.
  void look();
  // When the run is over.
  void tell() const;

 private:
  struct Hook;
  friend void fiber::set_leak_hook(LeakHook hook, std::chrono::nanoseconds grace);
  static std::shared_ptr<const Hook> in_force(std::shared_ptr<const Hook> next, bool change);

  std::shared_ptr<const Hook> hook_;  // null: none
  std::vector<FiberReport> left_;
};

}  // namespace fiber::detail
