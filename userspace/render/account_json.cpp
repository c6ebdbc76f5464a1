// SPDX-License-Identifier: BSD-2-Clause
#include "render/account_json.h"

#include "support/text.h"

namespace fiberprof {

using nlohmann::ordered_json;

namespace {

ordered_json parts_json(const AccountRow& row) {
  const auto object = [](const std::map<std::string, uint64_t>& parts) {
    ordered_json out = ordered_json::object();
    for (const auto& [name, ns] : parts) out[sanitize(name)] = ns;
    return out;
  };
  return {{"total_ns", row.total()},         {"running_ns", row.running_ns},     {"queued_ns", row.queued_ns},
          {"parked_ns", row.parked()},       {"preempted_ns", row.preempted_ns}, {"kernel_ns", row.kernel()},
          {"parked", object(row.parked_ns)}, {"kernel", object(row.kernel_ns)}};
}

}  // namespace

ordered_json account_json(const Account& account) {
  ordered_json out = {{"lived_ns", account.lived_ns}};
  out.update(parts_json(account.total));
  ordered_json& rows = out["rows"] = ordered_json::array();
  for (const AccountRow& row : account.rows) {
    ordered_json each = {{"fiber", sanitize(row.site)}, {"pid", row.pid}, {"process", sanitize(row.process)}};
    each.update(parts_json(row));
    rows.push_back(std::move(each));
  }
  return out;
}

}  // namespace fiberprof
