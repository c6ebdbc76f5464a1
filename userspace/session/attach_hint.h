// SPDX-License-Identifier: BSD-2-Clause
#pragma once

#include <string>

namespace fiberprof {

// What to do when attaching a uprobe failed with this errno.
std::string attach_hint(int error);

}  // namespace fiberprof
