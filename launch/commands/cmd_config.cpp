// tracewise config: prints keys with value and meaning, as a config file or as markdown.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "launch/commands/cli.hpp"

namespace tracewise {

int cmd_config(const Args& args) {
  CLI::App app("Prints every key with its value and meaning, as TOML that --config reads.",
               "tracewise config");
  ConfigSource source;
  std::string prefix;
  bool plain = false;
  bool markdown = false;
  app.add_option("key", prefix, "only this group or key, e.g. advantage or advantage.beta");
  add_config_options(app, source);
  app.add_flag("--plain", plain, "leave the comments out");
  app.add_flag("--markdown", markdown, "tables of all defaults, as in docs/config.md");
  if (const auto exit = parse_args(app, args)) return *exit;

  const auto config = load_config(source);
  if (!config.ok()) return fail(config.error());
  if (markdown) {
    std::fputs(config_markdown().c_str(), stdout);
    return kExitDone;
  }
  const std::string text = config_toml(*config, !plain, prefix);
  if (text.empty()) {
    const std::string near = nearest_key(prefix);
    return fail(bad_input("config: there is no group or key " + prefix +
                          (near.empty() ? "" : "; did you mean " + near + "?")));
  }
  std::fputs(text.c_str(), stdout);
  return kExitDone;
}

}  // namespace tracewise
