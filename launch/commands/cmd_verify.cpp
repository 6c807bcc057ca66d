// tracewise verify: rewards of given responses, JSON lines in and out.
//
// In, a response a line:    {"response": text, "answer": text}
// Out, in the same order:   {"reward": number}, or {"failure": text} where it is unknown
// A line is answered before the next is read.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "launch/commands/cli.hpp"
#include "rollout/verifier.hpp"

namespace tracewise {
namespace {

using Json = nlohmann::json;

Result<std::string> text_of(const Json& line, const char* name) {
  const auto found = line.find(name);
  if (found == line.end()) return bad_input(std::string("\"") + name + "\" is missing");
  if (!found->is_string()) return bad_input(std::string("\"") + name + "\" is no text");
  return found->get<std::string>();
}

Result<void> answer_line(const std::string& text, const std::string& id, const Verifier& verifier) {
  const Json line = Json::parse(text, nullptr, false);
  if (!line.is_object()) return bad_input("no JSON object");
  TW_ASSIGN(const std::string response, text_of(line, "response"));
  Prompt prompt;
  prompt.id = id;
  TW_ASSIGN(prompt.gold, text_of(line, "answer"));
  const Verdict verdict = verifier.verify(prompt, response, FinishReason::kStop);
  const Json out = verdict.failure.failed() ? Json{{"failure", verdict.failure.message}}
                                            : Json{{"reward", verdict.reward}};
  const std::string written = out.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::fputs(written.c_str(), stdout);
  return flush_output();
}

Result<void> run(std::istream& in, const std::string& name, const Verifier& verifier) {
  std::string text;
  for (size_t number = 1; std::getline(in, text); ++number) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    const auto answered = answer_line(text, std::to_string(number), verifier);
    if (!answered.ok()) {
      return Error{answered.error().error_class,
                   name + ":" + std::to_string(number) + ": " + answered.error().message};
    }
  }
  if (in.bad()) return io_error("cannot read " + name);
  return {};
}

}  // namespace

int cmd_verify(const Args& args) {
  CLI::App app(
      "Rewards of responses: JSON lines {\"response\": text, \"answer\": gold text} in, "
      "{\"reward\": number} out, or {\"failure\": text} where the reward is unknown. The keys "
      "verifier.* say how; a response counts as one that ended by itself.",
      "tracewise verify");
  ConfigSource source;
  std::string in_file;
  app.add_option("--in", in_file, "read this file instead of standard input")->type_name("FILE");
  add_config_options(app, source);
  if (const auto exit = parse_args(app, args)) return *exit;
  const auto config = load_config(source);
  if (!config.ok()) return fail(config.error());
  const auto verifier = make_verifier(config->verifier);
  if (!verifier.ok()) return fail(verifier.error());
  Result<void> result;
  if (in_file.empty() || in_file == "-") {
    result = run(std::cin, "stdin", **verifier);
  } else {
    std::ifstream file(in_file, std::ios::binary);
    if (!file || std::filesystem::is_directory(in_file))
      return fail(io_error("verify: cannot read " + in_file));
    result = run(file, in_file, **verifier);
  }
  return result.ok() ? kExitDone : fail(result.error());
}

}  // namespace tracewise
