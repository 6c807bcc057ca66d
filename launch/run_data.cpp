#include "launch/run_data.hpp"

#include <algorithm>
#include <numeric>

#include "messages/random.hpp"
#include "model/file_io.hpp"
#include "rollout/data/prepared.hpp"

namespace tracewise {
namespace {

constexpr uint64_t kDrawStream = 0x64617461;  // no other stream of the seed

// `count` of the numbers 0..n-1, drawn by `seed`, ascending.
std::vector<size_t> draw(size_t n, size_t count, uint64_t seed) {
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  SplitMix(seed, kDrawStream).shuffle(order);
  order.resize(count);
  std::ranges::sort(order);
  return order;
}

// Takes the prompts with these numbers (ascending) out of `prompts`.
std::vector<Prompt> take(std::vector<Prompt>& prompts, const std::vector<size_t>& numbers) {
  std::vector<Prompt> taken, left;
  size_t next = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const bool wanted = next < numbers.size() && numbers[next] == i;
    if (wanted) ++next;
    (wanted ? taken : left).push_back(std::move(prompts[i]));
  }
  prompts = std::move(left);
  return taken;
}

// The rows that are held out, before data.max_rows, so that they don't depend on it.
Result<std::vector<Prompt>> hold_out(const Config& config, std::vector<Prompt>& prompts) {
  const auto rows = static_cast<size_t>(config.data_rows.eval);
  if (rows >= prompts.size()) {
    return bad_input("data.eval_rows = " + std::to_string(rows) + ", but " +
                     config.data.path.string() + " has " + std::to_string(prompts.size()) +
                     " usable rows");
  }
  return take(prompts, draw(prompts.size(), rows, config.seed));
}

Result<Dataset> load_checked(const DatasetOptions& options, const ModelFolder& model,
                             const RunCheck& check) {
  return load_data(options, *model.tokenizer, model.config, model.files, check.function());
}

std::string note(const std::filesystem::path& file, const Dataset& data, const std::string& reason,
                 const DroppedRows& dropped) {
  return file.string() + ": " + std::to_string(dropped.rows) + " of " +
         std::to_string(data.report.rows) + " rows dropped (" + reason +
         "), the first: " + dropped.first;
}

}  // namespace

Result<RunCheck> RunCheck::make(const Config& config) {
  RunCheck check;
  TW_ASSIGN(check.verifier_, make_verifier(config.verifier));
  TW_ASSIGN(Shaping shaping, Shaping::make(config.reward_terms));
  check.shaping_ = std::make_unique<Shaping>(std::move(shaping));
  return check;
}

PromptCheck RunCheck::function() const {
  return [this](const Prompt& prompt) -> Result<void> {
    TW_TRY(verifier_->check(prompt));
    return shaping_->check(prompt);
  };
}

Result<Dataset> load_data(DatasetOptions options, const Tokenizer& tokenizer,
                          const ModelConfig& model, const ModelFiles& files,
                          const PromptCheck& check) {
  const int64_t room = model.max_context - 1;
  if (options.max_prompt_tokens == 0 || options.max_prompt_tokens > room)
    options.max_prompt_tokens = room;
  return load_dataset(options, tokenizer, files, check);
}

Result<std::vector<Prompt>> load_prompts(const DatasetOptions& options, const ModelFolder& model) {
  TW_ASSIGN(Dataset data, load_data(options, *model.tokenizer, model.config, model.files));
  return std::move(data.prompts);
}

Result<RunData> load_run_data(const Config& config, const ModelFolder& model) {
  if (config.data.path.empty())
    return bad_input("data.prompts is not set; it names the training prompts");
  TW_ASSIGN(const RunCheck check, RunCheck::make(config));
  RunData data;
  TW_ASSIGN(data.train, load_checked(config.data, model, check));
  if (!config.eval_data.path.empty()) {
    TW_ASSIGN(data.eval, load_checked(config.eval_data, model, check));
  } else if (config.data_rows.eval > 0) {
    TW_ASSIGN(data.eval.prompts, hold_out(config, data.train.prompts));
  }
  std::vector<Prompt>& prompts = data.train.prompts;
  const auto most = static_cast<size_t>(config.data_rows.max);
  if (most > 0 && most < prompts.size())
    prompts = take(prompts, draw(prompts.size(), most, config.seed));
  return data;
}

Result<std::vector<Prompt>> load_eval_prompts(const Config& config, const ModelFolder& model) {
  if (!config.eval_data.path.empty()) return load_prompts(config.eval_data, model);
  if (config.data_rows.eval == 0 || config.data.path.empty()) {
    return bad_input(
        "data.eval_prompts is not set; it (or --data) names the prompt file, or data.eval_rows "
        "says "
        "how many rows of data.prompts are held out");
  }
  TW_ASSIGN(const RunCheck check, RunCheck::make(config));
  TW_ASSIGN(Dataset all, load_checked(config.data, model, check));
  return hold_out(config, all.prompts);
}

std::vector<std::string> notes(const Config& config, const RunData& data) {
  std::vector<std::string> lines;
  for (const auto& [reason, dropped] : data.train.report.dropped)
    lines.push_back(note(config.data.path, data.train, reason, dropped));
  for (const auto& [reason, dropped] : data.eval.report.dropped)
    lines.push_back(note(config.eval_data.path, data.eval, reason, dropped));
  return lines;
}

Result<void> save_run_data(const std::filesystem::path& run, const RunData& data) {
  TW_TRY(save_prepared(run / "prompts.jsonl", data.train.prompts, data.train.report.template_hash));
  return save_prepared(run / "eval_prompts.jsonl", data.eval.prompts,
                       data.eval.report.template_hash);
}

Result<RunData> load_saved_data(const std::filesystem::path& run) {
  RunData data;
  TW_ASSIGN(data.train.prompts, load_prepared(run / "prompts.jsonl"));
  TW_ASSIGN(data.eval.prompts, load_prepared(run / "eval_prompts.jsonl"));
  return data;
}

}  // namespace tracewise
