// tracewise data check: what a run would make of a prompt file, before anything is trained.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "launch/commands/cli.hpp"
#include "launch/memory_estimate.hpp"
#include "launch/run_data.hpp"

namespace tracewise {
namespace {

using Json = nlohmann::json;

// Of a sorted, non-empty list of lengths.
Json lengths(std::vector<size_t> tokens) {
  std::ranges::sort(tokens);
  double sum = 0;
  for (const size_t n : tokens) sum += static_cast<double>(n);
  const auto at = [&](size_t percent) { return tokens[(tokens.size() - 1) * percent / 100]; };
  return {{"min", tokens.front()},
          {"median", at(50)},
          {"p95", at(95)},
          {"max", tokens.back()},
          {"mean", sum / static_cast<double>(tokens.size())}};
}

Json summary(const Dataset& data) {
  std::vector<size_t> prompts, answers;
  std::map<std::string, uint64_t> verifiers;
  for (const Prompt& prompt : data.prompts) {
    prompts.push_back(prompt.tokens.size());
    answers.push_back(prompt.gold_tokens.size());
    ++verifiers[prompt.verifier.empty() ? "the run's" : prompt.verifier];
  }
  Json dropped = Json::object();
  for (const auto& [reason, rows] : data.report.dropped)
    dropped[reason] = {{"rows", rows.rows}, {"first", rows.first}};
  const Prompt& first = data.prompts.front();
  return {{"rows", data.report.rows},
          {"usable", data.prompts.size()},
          {"dropped", std::move(dropped)},
          {"prompt_tokens", lengths(std::move(prompts))},
          {"answer_tokens", lengths(std::move(answers))},
          {"verifiers", verifiers},
          {"template", data.report.template_hash},
          {"first", {{"id", first.id}, {"text", first.text}, {"answer", first.gold}}}};
}

std::string lengths_text(const Json& l) {
  char text[160];
  std::snprintf(text, sizeof text, "%lu to %lu, median %lu, 95 %% up to %lu, mean %.1f",
                l["min"].get<size_t>(), l["max"].get<size_t>(), l["median"].get<size_t>(),
                l["p95"].get<size_t>(), l["mean"].get<double>());
  return text;
}

void print(const Json& s) {
  std::printf("%-10s%lu, %lu usable\n", "rows", s["rows"].get<size_t>(), s["usable"].get<size_t>());
  for (const auto& [reason, rows] : s["dropped"].items()) {
    std::printf("%-10s%lu %s, the first: %s\n", "dropped", rows["rows"].get<size_t>(),
                reason.c_str(), rows["first"].get_ref<const std::string&>().c_str());
  }
  std::printf("%-10s%s tokens\n", "prompts", lengths_text(s["prompt_tokens"]).c_str());
  std::printf("%-10s%s tokens\n", "answers", lengths_text(s["answer_tokens"]).c_str());
  for (const auto& [name, rows] : s["verifiers"].items())
    std::printf("%-10s%s: %lu rows\n", "verifier", name.c_str(), rows.get<size_t>());
  if (!s["template"].get_ref<const std::string&>().empty())
    std::printf("%-10schat template %s\n", "template",
                s["template"].get_ref<const std::string&>().c_str());
  const Json& first = s["first"];
  std::printf("\nthe first, %s, with the answer %s:\n%s\n", first["id"].dump().c_str(),
              first["answer"].dump().c_str(), first["text"].get_ref<const std::string&>().c_str());
}

Result<void> run(const Config& config, const std::string& file, bool json) {
  DatasetOptions options = config.data;
  options.path = file;
  options.drop = DropRows::kUnusable;
  TW_ASSIGN(const ModelConfig model, read_run_model(config));
  const std::filesystem::path dir = config.launch.model_dir;
  TW_ASSIGN(const auto tokenizer, load_tokenizer(dir / "tokenizer.json"));
  TW_ASSIGN(const ModelFiles files, read_model_files(dir));
  TW_ASSIGN(const RunCheck check, RunCheck::make(config));
  TW_ASSIGN(const Dataset data, load_data(options, *tokenizer, model, files, check.function()));
  const Json found = summary(data);
  if (json) {
    std::printf("%s\n", found.dump(-1, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    print(found);
  }
  return flush_output();
}

}  // namespace

int cmd_data(const Args& args) {
  CLI::App app("Prompt files of a run.", "tracewise data");
  app.require_subcommand(1);
  CLI::App* check = app.add_subcommand(
      "check",
      "Reads a prompt file as a run would (keys data.*, verifier.*, model.dir) and tells how many "
      "rows are usable, why others are not, how long prompts are, and what the first one became.");
  ConfigSource source;
  std::string file;
  bool json = false;
  check->add_option("file", file, "JSON lines or Parquet")->required()->type_name("FILE");
  add_config_options(*check, source);
  add_key_option(*check, source, "--model", "model.dir", "DIR", "Hugging Face folder");
  check->add_flag("--json", json, "as one JSON object");
  if (const auto exit = parse_args(app, args)) return *exit;
  const auto config = load_config(source);
  if (!config.ok()) return fail(config.error());
  const auto result = run(*config, file, json);
  return result.ok() ? kExitDone : fail(result.error());
}

}  // namespace tracewise
