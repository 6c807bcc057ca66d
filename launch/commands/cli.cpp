#include "launch/commands/cli.hpp"

#include <CLI/CLI.hpp>
#include <cstdio>

namespace tracewise {

void add_config_options(CLI::App& app, ConfigSource& source) {
  // One value a flag: a list must not swallow the words after it.
  app.add_option("--config", source.files, "TOML file; a later one overrides an earlier one")
      ->type_name("FILE")
      ->allow_extra_args(false);
  app.add_option("--set", source.sets, "one key, over the files: --set advantage.beta=3")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
}

void add_key_option(CLI::App& app, ConfigSource& source, const std::string& option,
                    const std::string& key, const std::string& value_name,
                    const std::string& meaning) {
  // CLI11 hands options their values in the order they were added, so this comes after --set's.
  app.add_option_function<std::string>(
         option,
         [&source, key](const std::string& value) { source.sets.push_back(key + "=" + value); },
         meaning + " (" + key + ")")
      ->type_name(value_name);
}

std::optional<int> parse_args(CLI::App& app, const Args& args) {
  try {
    app.parse(Args(args.rbegin(), args.rend()));  // CLI11 takes them last first
  } catch (const CLI::CallForHelp&) {
    std::fputs(app.help().c_str(), stdout);
    return kExitDone;
  } catch (const CLI::ParseError& e) {
    std::fprintf(stderr, "%s: %s; --help shows what it takes\n", app.get_name().c_str(), e.what());
    return kExitBadInput;
  }
  return std::nullopt;
}

Result<void> flush_output() {
  const bool flushed = std::fflush(stdout) == 0;
  if (flushed && std::ferror(stdout) == 0) return {};
  return io_error("cannot write to standard output: the disk may be full");
}

int fail(const Error& error) {
  std::fprintf(stderr, "tracewise: %s\n", error.message.c_str());
  switch (error.error_class) {
    case ErrorClass::kBadInput:
    case ErrorClass::kUnsupported:
    case ErrorClass::kIo:
    case ErrorClass::kCorrupt:
      return kExitBadInput;
    case ErrorClass::kCancelled:
      return kExitInterrupted;
    case ErrorClass::kDeadline:
    case ErrorClass::kResource:
    case ErrorClass::kInternal:
      return kExitInternal;
  }
  return kExitInternal;
}

}  // namespace tracewise
