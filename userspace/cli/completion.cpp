// SPDX-License-Identifier: BSD-2-Clause
#include "cli/completion.h"

#include <algorithm>
#include <cctype>
#include <memory>
#include <vector>

#include "cli/options.h"

namespace fiberprof {
namespace {

struct Flag {
  std::string name;         // "--sort"
  std::string description;  // its first line
  bool takes_value = false;
  std::vector<std::string> words;  // possible values, when they are a few words
};

std::vector<std::string> split(const std::string& text, char at) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == at) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

// The first sentence, without what a shell would read as syntax.
std::string summary(const std::string& text) {
  std::string first = text.substr(0, std::min(text.find('\n'), text.find(". ")));
  std::erase_if(first, [](char c) {
    return c == '\'' || c == '"' || c == '[' || c == ']' || c == ':' || c == '`' || c == '$' || c == '\\';
  });
  return first;
}

std::vector<Flag> flags_of(const CLI::App& app) {
  std::vector<Flag> flags;
  for (const CLI::Option* option : app.get_options([](const CLI::Option* each) { return each->nonpositional(); })) {
    const auto add = [&](const std::string& name) {
      Flag flag{name, summary(option->get_description()), option->get_items_expected_max() != 0, {}};
      const std::string type = option->get_type_name();
      if (flag.takes_value && type.find('|') != std::string::npos &&
          std::islower(static_cast<unsigned char>(type[0])) != 0) {
        flag.words = split(type, '|');
      }
      flags.push_back(std::move(flag));
    };
    for (const std::string& name : option->get_lnames()) add("--" + name);
    for (const std::string& name : option->get_snames()) add("-" + name);
  }
  return flags;
}

std::vector<const CLI::App*> commands_of(const CLI::App& app) {
  return app.get_subcommands([](const CLI::App* each) { return !each->get_name().empty(); });
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::string names(const std::vector<Flag>& flags) {
  std::vector<std::string> words;
  for (const Flag& flag : flags) words.push_back(flag.name);
  return joined(words);
}

std::string bash(const CLI::App& app) {
  std::vector<std::string> commands;
  std::string cases, values;
  for (const CLI::App* command : commands_of(app)) {
    commands.push_back(command->get_name());
    const std::vector<Flag> flags = flags_of(*command);
    cases += "    " + command->get_name() + ") words='" + names(flags) + "' ;;\n";
    for (const Flag& flag : flags) {
      if (!flag.words.empty()) {
        values += "    " + command->get_name() + ":" + flag.name + ") COMPREPLY=($(compgen -W '" + joined(flag.words) +
                  "' -- \"$current\")); return ;;\n";
      }
    }
  }
  return "# bash completion for fiberprof; put it where your bash finds completions, or source it.\n"
         "_fiberprof() {\n"
         "  local current=\"${COMP_WORDS[COMP_CWORD]}\" before=\"${COMP_WORDS[COMP_CWORD-1]}\" words=''\n"
         "  case \"${COMP_WORDS[1]}:$before\" in\n" +
         values +
         "  esac\n"
         "  case \"${COMP_WORDS[1]}\" in\n" +
         cases +
         "  esac\n"
         "  if [[ $COMP_CWORD -eq 1 ]]; then\n"
         "    words='" +
         joined(commands) + " " + names(flags_of(app)) +
         "'\n"
         "  elif [[ $current != -* ]]; then\n"
         "    COMPREPLY=($(compgen -f -- \"$current\"))\n"
         "    return\n"
         "  fi\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n"
         "}\n"
         "complete -o filenames -F _fiberprof fiberprof\n";
}

std::string zsh(const CLI::App& app) {
  std::string commands, cases;
  for (const CLI::App* command : commands_of(app)) {
    commands += "    '" + command->get_name() + ":" + summary(command->get_description()) + "'\n";
    cases += "    " + command->get_name() + ")\n      _arguments";
    for (const Flag& flag : flags_of(*command)) {
      cases += " \\\n        '" + flag.name + "[" + flag.description + "]";
      if (flag.takes_value) cases += flag.words.empty() ? ":value:_files" : ":value:(" + joined(flag.words) + ")";
      cases += "'";
    }
    cases += " \\\n        '*:file:_files' ;;\n";
  }
  return "#compdef fiberprof\n"
         "_fiberprof() {\n"
         "  local -a commands\n"
         "  commands=(\n" +
         commands +
         "  )\n"
         "  if (( CURRENT == 2 )); then\n"
         "    _describe command commands\n"
         "    return\n"
         "  fi\n"
         "  local command=$words[2]\n"
         "  shift words\n"
         "  (( CURRENT-- ))\n"
         "  case $command in\n" +
         cases +
         "  esac\n"
         "}\n"
         "_fiberprof \"$@\"\n";
}

std::string fish(const CLI::App& app) {
  std::string text = "# fish completion for fiberprof\n";
  for (const CLI::App* command : commands_of(app)) {
    text += "complete -c fiberprof -n __fish_use_subcommand -f -a " + command->get_name() + " -d '" +
            summary(command->get_description()) + "'\n";
    for (const Flag& flag : flags_of(*command)) {
      text += "complete -c fiberprof -n '__fish_seen_subcommand_from " + command->get_name() + "' " +
              (flag.name.starts_with("--") ? "-l " + flag.name.substr(2) : "-s " + flag.name.substr(1)) +
              (flag.takes_value ? " -r" : "") + (flag.words.empty() ? "" : " -f -a '" + joined(flag.words) + "'") +
              " -d '" + flag.description + "'\n";
    }
  }
  return text;
}

}  // namespace

std::string completion_script(const CLI::App& app, Shell shell) {
  switch (shell) {
    case Shell::bash:
      return bash(app);
    case Shell::zsh:
      return zsh(app);
    case Shell::fish:
      return fish(app);
  }
  return "";
}

void add_completion(CLI::App& app, std::function<int()>& action) {
  auto shell = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("completion", "A script that lets your shell complete fiberprof's commands");
  command->add_option("shell", *shell, "bash, zsh or fish.")
      ->required()
      ->check([](const std::string& word) {
        return word == "bash" || word == "zsh" || word == "fish" ? "" : "'" + word + "' is not one of bash|zsh|fish";
      })
      ->option_text("SHELL (required)");
  command->footer("For this session of bash: source <(fiberprof completion bash)");
  command->callback([shell, &app, &action] {
    action = [shell, &app] {
      print(completion_script(app, *shell == "bash" ? Shell::bash : *shell == "zsh" ? Shell::zsh : Shell::fish));
      return static_cast<int>(ExitCode::ok);
    };
  });
}

}  // namespace fiberprof
