// What all commands do alike: parse their words, read the config, end with the right code.
#pragma once

#include <optional>
#include <string>

#include "launch/commands/commands.hpp"
#include "launch/config.hpp"
#include "messages/result.hpp"

namespace CLI {
class App;
}

namespace tracewise {

// Adds --config FILE and --set KEY=VALUE, both repeatable.
void add_config_options(CLI::App& app, ConfigSource& source);

// Parses `args`. An exit code if the command ends here: help was asked for, or the words are wrong
// (kExitBadInput, with one sentence on stderr).
std::optional<int> parse_args(CLI::App& app, const Args& args);

// Prints the error on stderr and returns its exit code.
int fail(const Error& error);

}  // namespace tracewise
