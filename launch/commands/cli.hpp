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

// Adds an option that stands for one --set: --model DIR for --set model.dir=DIR. It overrides the
// words of --set, whatever their order. Comes after add_config_options().
void add_key_option(CLI::App& app, ConfigSource& source, const std::string& option,
                    const std::string& key, const std::string& value_name,
                    const std::string& meaning);

// Parses `args`. An exit code if the command ends here: help was asked for, or the words are wrong
// (kExitBadInput, with one sentence on stderr).
std::optional<int> parse_args(CLI::App& app, const Args& args);

// Flushes standard output; kIo if something that was written to it got lost.
Result<void> flush_output();

// Prints the error on stderr and returns its exit code.
int fail(const Error& error);

}  // namespace tracewise
