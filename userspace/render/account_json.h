// SPDX-License-Identifier: BSD-2-Clause
// The account of the fibers' time for programs: the same object in reports and in `top`.
#pragma once

#include <nlohmann/json.hpp>

#include "render/account.h"

namespace fiberprof {

nlohmann::ordered_json account_json(const Account& account);

}  // namespace fiberprof
