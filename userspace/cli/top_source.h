// SPDX-License-Identifier: BSD-2-Clause
// What the screen of one process is drawn from.
#pragma once

#include <string>
#include <vector>

#include "render/top_model.h"
#include "support/error.h"

namespace fiberprof {

class TopSource {
 public:
  virtual ~TopSource() = default;
  // Reads everything once. Errors only when the kernel's counts cannot be read.
  virtual Result<void> refresh() = 0;
  virtual TopModel model(TopBuilder::Group group, bool since_start) = 0;
  virtual void reset() = 0;
  virtual bool alive() const = 0;
  // To sleep on; woken() is called when one is readable and tells whether that is worth a refresh now.
  virtual std::vector<int> fds() const = 0;
  virtual bool woken() = 0;
};

}  // namespace fiberprof
