#include "launch/run_data.hpp"

#include <algorithm>
#include <iterator>
#include <numeric>

#include "actors/eval_result.hpp"
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
                             const PromptCheck& check) {
  return load_data(options, *model.tokenizer, model.config, model.files, check);
}

// All sets with a file: data.eval_prompts and eval.sets.
std::vector<EvalSetOptions> sets_of_files(const Config& config) {
  std::vector<EvalSetOptions> sets;
  if (const auto& file = config.eval_data.path; !file.empty())
    sets.push_back({set_name(file), file.string(), 0, 0, ""});
  sets.insert(sets.end(), config.eval_sets.begin(), config.eval_sets.end());
  return sets;
}

bool holds_out(const Config& config) {
  return config.eval_data.path.empty() && config.data_rows.eval > 0 && !config.data.path.empty();
}

// Without their prompts.
std::vector<EvalData> described_sets(const Config& config) {
  std::vector<EvalData> sets;
  if (holds_out(config))
    sets.push_back({{"held_out", {}, config.run.eval.samples}, config.data.path, {}});
  for (const EvalSetOptions& set : sets_of_files(config))
    sets.push_back(
        {{set.name, {}, set.samples > 0 ? set.samples : config.run.eval.samples}, set.path, {}});
  return sets;
}

// Names, samples and best_set, before any file is read.
Result<void> check_described(const Config& config, const std::vector<EvalData>& sets) {
  std::vector<std::string> names;
  for (const EvalData& data : sets) names.push_back(data.set.name);
  TW_TRY(check_set_names(names));
  TW_TRY(pass_at_of(config.run.eval.pass_at, eval_sets(sets)));
  const std::string& best = config.run.eval.best_set;
  if (best.empty() || std::ranges::find(names, best) != names.end()) return {};
  std::string known;
  for (const std::string& name : names) known += (known.empty() ? "" : ", ") + name;
  return bad_input("eval.best_set = \"" + best + "\": " +
                   (known.empty() ? "there is no evaluation set" : "the sets are " + known));
}

// Reads the prompts of a set with a file; rows that name no verifier get the set's.
Result<void> fill(EvalData& data, const Config& config, const EvalSetOptions& set,
                  const ModelFolder& model, const RunCheck& run_check) {
  DatasetOptions options = config.eval_data;
  options.path = set.path;
  const PromptCheck check = [&, inner = run_check.function()](const Prompt& prompt) {
    if (set.verifier.empty() || !prompt.verifier.empty()) return inner(prompt);
    Prompt own = prompt;
    own.verifier = set.verifier;
    return inner(own);
  };
  TW_ASSIGN(Dataset rows, load_checked(options, model, check));
  const auto most = static_cast<size_t>(set.max_rows);
  if (most > 0 && most < rows.prompts.size())
    rows.prompts = take(rows.prompts, draw(rows.prompts.size(), most, config.seed));
  for (Prompt& prompt : rows.prompts)
    if (prompt.verifier.empty()) prompt.verifier = set.verifier;
  data.set.prompts = std::move(rows.prompts);
  data.report = std::move(rows.report);
  return {};
}

// All sets; what is held out is taken from `train`.
Result<std::vector<EvalData>> load_sets(const Config& config, const ModelFolder& model,
                                        const RunCheck& check, std::vector<Prompt>* train) {
  std::vector<EvalData> sets = described_sets(config);
  TW_TRY(check_described(config, sets));
  auto next = sets.begin();
  if (holds_out(config)) {
    TW_ASSIGN((next++)->set.prompts, hold_out(config, *train));
  }
  for (const EvalSetOptions& set : sets_of_files(config))
    TW_TRY(fill(*next++, config, set, model, check));
  TW_TRY(tracewise::check(eval_sets(sets)));
  return sets;
}

std::filesystem::path saved_set(const std::filesystem::path& run, const EvalData& data) {
  return run / "eval_prompts" / (data.set.name + ".jsonl");
}

std::string note(const std::filesystem::path& file, const DatasetReport& report,
                 const std::string& reason, const DroppedRows& dropped) {
  return file.string() + ": " + std::to_string(dropped.rows) + " of " +
         std::to_string(report.rows) + " rows dropped (" + reason +
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

std::string set_name(const std::filesystem::path& file) {
  std::string name = file.stem().string().substr(0, 64);
  for (char& c : name)
    if (!is_set_name("x" + std::string(1, c))) c = '_';
  return is_set_name(name) ? name : "_" + name.substr(0, 63);
}

std::vector<EvalSet> eval_sets(const std::vector<EvalData>& data) {
  std::vector<EvalSet> sets;
  for (const EvalData& each : data) sets.push_back(each.set);
  return sets;
}

Result<RunData> load_run_data(const Config& config, const ModelFolder& model) {
  if (config.data.path.empty())
    return bad_input("data.prompts is not set; it names the training prompts");
  TW_ASSIGN(const RunCheck check, RunCheck::make(config));
  RunData data;
  TW_ASSIGN(data.train, load_checked(config.data, model, check.function()));
  std::vector<Prompt>& prompts = data.train.prompts;
  TW_ASSIGN(data.eval, load_sets(config, model, check, &prompts));
  const auto most = static_cast<size_t>(config.data_rows.max);
  if (most > 0 && most < prompts.size())
    prompts = take(prompts, draw(prompts.size(), most, config.seed));
  return data;
}

Result<std::vector<EvalData>> load_eval_data(const Config& config, const ModelFolder& model) {
  if (described_sets(config).empty()) {
    return bad_input(
        "data.eval_prompts is not set; it, eval.sets or --data names prompt files, or "
        "data.eval_rows says how many rows of data.prompts are held out");
  }
  TW_ASSIGN(const RunCheck check, RunCheck::make(config));
  Dataset train;
  if (holds_out(config)) {
    TW_ASSIGN(train, load_checked(config.data, model, check.function()));
  }
  return load_sets(config, model, check, &train.prompts);
}

std::vector<std::string> notes(const std::vector<EvalData>& sets) {
  std::vector<std::string> lines;
  for (const EvalData& data : sets)
    for (const auto& [reason, dropped] : data.report.dropped)
      lines.push_back(note(data.file, data.report, reason, dropped));
  return lines;
}

std::vector<std::string> notes(const Config& config, const RunData& data) {
  std::vector<std::string> lines;
  for (const auto& [reason, dropped] : data.train.report.dropped)
    lines.push_back(note(config.data.path, data.train.report, reason, dropped));
  std::ranges::move(notes(data.eval), std::back_inserter(lines));
  return lines;
}

Result<void> save_run_data(const std::filesystem::path& run, const RunData& data) {
  TW_TRY(save_prepared(run / "prompts.jsonl", data.train.prompts, data.train.report.template_hash));
  std::error_code ignored;  // where there is no folder, writing says so
  std::filesystem::create_directories(run / "eval_prompts", ignored);
  for (const EvalData& eval : data.eval)
    TW_TRY(save_prepared(saved_set(run, eval), eval.set.prompts, eval.report.template_hash));
  return {};
}

Result<RunData> load_saved_data(const std::filesystem::path& run, const Config& config) {
  RunData data;
  TW_ASSIGN(data.train.prompts, load_prepared(run / "prompts.jsonl"));
  data.eval = described_sets(config);
  TW_TRY(check_described(config, data.eval));
  for (EvalData& eval : data.eval) {
    TW_ASSIGN(eval.set.prompts, load_prepared(saved_set(run, eval)));
  }
  return data;
}

}  // namespace tracewise
