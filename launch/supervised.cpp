#include "launch/supervised.hpp"

#include <algorithm>
#include <chrono>
#include <deque>

#include "actors/prompt_order.hpp"
#include "launch/parts.hpp"
#include "model/adapter_folder.hpp"

namespace tracewise {
namespace {

using Seconds = std::chrono::duration<double>;

// Weights of the response's tokens: options.answer_weight after the last answer prefix, else 1.
std::vector<float> token_weights(const SupervisedRow& row, const std::vector<int32_t>& prefix,
                                 double answer_weight) {
  if (prefix.empty() || answer_weight == 1) return {};
  const auto response = row.tokens.begin() + row.prompt_tokens;
  const auto found = std::find_end(response, row.tokens.end(), prefix.begin(), prefix.end());
  std::vector<float> weights(row.tokens.end() - response, 1.0f);
  if (found == row.tokens.end()) return weights;
  const auto answer = found - response + static_cast<ptrdiff_t>(prefix.size());
  std::fill(weights.begin() + answer, weights.end(), static_cast<float>(answer_weight));
  return weights;
}

Result<std::vector<SupervisedExample>> load_examples(const Config& config,
                                                     const ModelFolder& model) {
  if (config.sft.data.path.empty()) return bad_input("sft.data is not set; it names the examples");
  SupervisedOptions options = config.sft.data;
  if (options.max_tokens == 0 || options.max_tokens > model.config.max_context)
    options.max_tokens = model.config.max_context;
  const int32_t eos = model.config.eos_tokens.empty() ? -1 : model.config.eos_tokens.front();
  TW_ASSIGN(const auto rows, load_supervised(options, *model.tokenizer, eos));
  TW_ASSIGN(const auto prefix, model.tokenizer->encode(config.sft.answer_prefix, false));
  std::vector<SupervisedExample> examples;
  for (const SupervisedRow& row : rows)
    examples.push_back(
        {row.tokens, row.prompt_tokens, token_weights(row, prefix, config.sft.answer_weight)});
  return examples;
}

double loss_of(const TrainReport& report) {
  for (const Metric& metric : report.metrics)
    if (metric.name == "train/loss") return metric.value;
  return 0;
}

}  // namespace

Result<SupervisedSummary> train_supervised(
    const Config& config, std::stop_token stop,
    const std::function<void(const SupervisedProgress&)>& report) {
  if (config.sft.out_dir.empty())
    return bad_input("sft.out is not set; it names the folder to write");
  TW_TRY(config.lora.on() ? check_adapter_target(config.sft.out_dir)
                          : check_model_target(config.sft.out_dir));
  TW_ASSIGN(const ModelFolder model, load_start_model(config));
  TW_ASSIGN(const auto examples, load_examples(config, model));
  TW_ASSIGN(const auto trainer, make_trainer(config.trainer, model.config, model.weights));
  PromptOrder order(examples.size(), config.seed, /*shuffle=*/true);
  const std::filesystem::path out = config.sft.out_dir;

  SupervisedSummary summary;
  std::deque<double> losses;
  const auto start = std::chrono::steady_clock::now();
  auto reported = start;
  const auto batch_size = static_cast<uint64_t>(config.sft.batch_size);
  for (int64_t step = 0; step < config.sft.steps; ++step) {
    if (stop.stop_requested()) {
      summary.stopped = true;
      return summary;
    }
    std::vector<SupervisedExample> batch;
    for (uint64_t i = 0; i < batch_size; ++i)
      batch.push_back(examples[order.index(static_cast<uint64_t>(step) * batch_size + i)]);
    const double progress = static_cast<double>(step) / static_cast<double>(config.sft.steps);
    TW_ASSIGN(const TrainReport done,
              trainer->train_supervised(batch, progress, out.parent_path()));
    summary.tokens += done.trained_tokens;
    losses.push_back(loss_of(done));
    if (losses.size() > 50) losses.pop_front();
    summary.loss = 0;
    for (double loss : losses) summary.loss += loss / static_cast<double>(losses.size());

    const auto now = std::chrono::steady_clock::now();
    summary.seconds = Seconds(now - start).count();
    const bool last = step + 1 == config.sft.steps;
    if (last || Seconds(now - reported).count() >= 1) {
      reported = now;
      const double left = static_cast<double>(config.sft.steps - step - 1);
      report({step + 1, config.sft.steps, summary.loss,
              static_cast<double>(summary.tokens) / summary.seconds,
              summary.seconds / static_cast<double>(step + 1) * left});
    }
  }
  const WeightsPtr weights = trainer->weights(0, allocate_weights);
  TW_TRY(config.lora.on() ? save_adapter(out, model.config, *weights, config.launch.model_dir)
                          : save_model_folder(out, model.config, *model.tokenizer, *weights,
                                              {model.files, config.launch.max_shard_bytes}));
  return summary;
}

}  // namespace tracewise
