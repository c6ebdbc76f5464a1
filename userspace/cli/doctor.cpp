// SPDX-License-Identifier: BSD-2-Clause
#include "cli/doctor.h"

#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli/options.h"
#include "session/calibration.h"
#include "session/event_cost.h"
#include "session/libbpf_log.h"
#include "session/nop_form.h"
#include "session/preflight.h"
#include "session/session.h"
#include "support/text.h"

namespace fiberprof {
namespace {

std::string text_of(double ns) {
  char text[32];
  std::snprintf(text, sizeof text, ns < 10 ? "%.1f ns" : "%.0f ns", ns);
  return text;
}

// Every program that a session may use: what a kernel refuses may be in one of them only.
Result<void> load_all_programs() {
  for (const Tier tier : {Tier::sampled, Tier::exact}) {
    SessionOptions options;
    options.all_of_binary = true;
    options.tier = tier;
    options.wakers = true;
    auto session = Session::open(options);
    if (!session) return tl::unexpected(session.error());
    for (const auto step : {&Session::configure, &Session::load})
      if (auto done = ((*session).*step)(); !done) return done;
  }
  return {};
}

// What can only be told by trying. Empty when the machine does not even allow to try.
std::vector<Check> trials(nlohmann::json& measured) {
  std::vector<Check> checks;
  auto calibration = Calibration::open();
  if (!calibration) {
    checks.push_back({"loading BPF programs", false, true, calibration.error().message(), "run as root"});
    return checks;
  }
  const auto loaded = load_all_programs();
  checks.push_back({"loading BPF programs", bool(loaded), true,
                    loaded ? "accepted by the kernel" : loaded.error().what + ": " + loaded.error().why,
                    "report this line: fiberprof does not know this kernel"});
  if (!loaded) return checks;

  const auto switches = calibration->switches_seen();
  checks.push_back({"worker threads (tp_btf/sched_switch)", switches && *switches, false,
                    !switches   ? switches.error().message()
                    : *switches ? "attaches and fires"
                                : "attaches, never fires",
                    "use record --no-off-cpu"});

  const auto costs = measure_nop_forms();
  if (!costs) {
    const Error& error = costs.error();
    checks.push_back({"probes", false, true, error.what + ": " + error.why, error.hint});
    return checks;
  }
  measured["unattached_ns"] = costs->unattached_ns;
  std::string text = "unattached " + text_of(costs->unattached_ns);
  for (int form = 0; form < kNopForms; ++form) {
    const std::string name(nop_form_name(static_cast<NopForm>(form)));
    const double ns = costs->hit_ns[static_cast<size_t>(form)];
    measured["hit_ns"][name] = ns > 0 ? nlohmann::json(ns) : nlohmann::json();
    text += "; " + name + " " + (ns > 0 ? text_of(ns) + " a hit" : "not possible");
    const bool harms = costs->harms_forks[static_cast<size_t>(form)];
    measured["harms_forks"][name] = harms;
    if (harms) text += " (but kills forked children)";
  }
  measured["chosen"] = nop_form_name(costs->best);
  checks.push_back({"probes", true, true, text + "; chosen: " + std::string(nop_form_name(costs->best)), {}});

  if (const auto cost = measure_event_cost()) {
    measured["event_ns"] = {{"empty", cost->empty_ns}, {"per_frame", cost->per_frame_ns()}};
    std::string detail;
    for (const auto& [name, at] : {std::pair("shallow", cost->shallow), std::pair("deep", cost->deep)}) {
      measured["event_ns"][name] = {{"frames", at.frames}, {"complete", at.complete_ns}, {"walk", at.walk_ns}};
      detail += (detail.empty() ? "" : "; ") + text_of(at.complete_ns) + " with " + std::to_string(at.frames) +
                " frames (an empty program and the kernel's stack walk: " + text_of(at.walk_ns) + ")";
    }
    checks.push_back({"a complete event", true, false, detail, {}});
  } else {
    checks.push_back({"a complete event", false, true, cost.error().message(),
                      "fiberprof record may still work; report this line and the kernel's version"});
  }
  return checks;
}

int doctor(bool json) {
  std::vector<Check> checks = preflight_checks();
  bool fine = true;
  for (const Check& check : checks) fine = fine && (check.ok || !check.required);
  nlohmann::json measured = nlohmann::json::object();
  if (fine)
    for (Check& check : trials(measured)) checks.push_back(std::move(check));

  std::string text;
  nlohmann::json list = nlohmann::json::array();
  fine = true;
  for (const Check& check : checks) {
    fine = fine && (check.ok || !check.required);
    const char* verdict = check.ok ? "ok" : check.required ? "missing" : "limited";
    if (json) {
      list.push_back(
          {{"name", check.name}, {"ok", check.ok}, {"required", check.required}, {"detail", sanitize(check.detail)}});
      if (!check.ok) list.back()["hint"] = check.hint;
    } else {
      char line[64];
      std::snprintf(line, sizeof line, "%-8s %-37s ", verdict, check.name.c_str());
      text += line + sanitize(check.detail) + "\n";
      if (!check.ok) text += "         -> " + check.hint + "\n";
    }
  }
  if (json)
    text = nlohmann::json{{"ok", fine}, {"checks", list}, {"measured", measured}}.dump(2) + "\n";
  else
    text += fine ? "fiberprof can be used here.\n" : "fiberprof cannot be used here until what is missing is there.\n";
  print(text);
  return static_cast<int>(fine ? ExitCode::ok : ExitCode::error);
}

}  // namespace

void add_doctor(CLI::App& app, std::function<int()>& action) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("doctor", "What this machine allows, what a probe costs here, what to do");
  command->add_flag("--json", *json, "One JSON object; times in nanoseconds.");
  command->footer(
      "Measures by attaching to probes of its own for a moment; other processes are\n"
      "not touched. Exit code 1 if something required is missing.\n"
      "\n"
      "OVERHEAD: none on other processes. Takes about a second.");
  command->callback([json, &action] { action = [json] { return doctor(*json); }; });
}

}  // namespace fiberprof
