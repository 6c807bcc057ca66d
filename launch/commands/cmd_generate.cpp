// tracewise generate: samples responses to a prompt, streamed as they are sampled.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "launch/commands/cli.hpp"
#include "launch/parts.hpp"
#include "launch/signals.hpp"

namespace tracewise {
namespace {

// Writes the samples' text one after the other: of the first that is not finished each token as it
// comes, the others' tokens are kept until it is their turn.
class TextOutput {
 public:
  TextOutput(const Tokenizer& tokenizer, const std::vector<int32_t>& stops, uint32_t samples)
      : tokenizer_(tokenizer), stops_(stops), texts_(samples), finished_(samples) {
    for (uint32_t i = 0; i < samples; ++i) streams_.push_back(tokenizer.stream(false));
  }

  void put(const TokenEvent& event) {
    const bool ends = std::ranges::find(stops_, event.token) != stops_.end();
    if (!(ends && tokenizer_.is_special(event.token)))
      streams_[event.sample]->push({&event.token, 1}, texts_[event.sample]);
    write();
  }

  void finish(uint32_t sample) {
    streams_[sample]->finish(texts_[sample]);
    finished_[sample] = true;
    write();
  }

  // After an interruption: the next thing on the terminal starts a line of its own.
  void end_line() const {
    if (shown_ < texts_.size() && begun_) std::fputc('\n', stdout);
  }

 private:
  void write() {
    while (shown_ < texts_.size()) {
      if (!begun_ && texts_.size() > 1) {
        std::printf("%s== sample %zu of %zu ==\n", shown_ > 0 ? "\n" : "", shown_ + 1,
                    texts_.size());
      }
      begun_ = true;
      std::fputs(texts_[shown_].c_str(), stdout);
      texts_[shown_].clear();
      if (!finished_[shown_]) break;
      std::fputc('\n', stdout);
      begun_ = false;
      ++shown_;
    }
    std::fflush(stdout);
  }

  const Tokenizer& tokenizer_;
  const std::vector<int32_t>& stops_;
  std::vector<std::unique_ptr<TextStream>> streams_;  // [N]
  std::vector<std::string> texts_;                    // [N] not yet written
  std::vector<bool> finished_;                        // [N]
  size_t shown_ = 0;                                  // the sample whose turn it is
  bool begun_ = false;                                // whether its heading was written
};

std::string json_line(const Rollout& rollout, const std::string& prompt,
                      const Tokenizer& tokenizer) {
  const nlohmann::ordered_json line = {
      {"prompt", prompt},
      {"sample", rollout.sample},
      {"text", response_text(rollout.tokens, tokenizer)},
      {"tokens", rollout.tokens},
      {"logprobs", rollout.logprobs},
      {"finish", rollout.finish == FinishReason::kStop ? "stop" : "length"}};
  return line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

struct Options {
  std::optional<std::string> prompt;  // empty: from standard input
  uint32_t samples = 1;
  bool json = false;
};

Result<GroupTask> make_task(const Options& options, const std::string& prompt, const Config& config,
                            const ModelFolder& model) {
  GroupTask task;
  task.samples = options.samples;
  task.sampling = config.run.sampling;
  TW_ASSIGN(task.prompt.tokens, model.tokenizer->encode(prompt, true));
  const auto tokens = static_cast<int64_t>(task.prompt.tokens.size());
  if (tokens == 0) return bad_input("the prompt has no tokens");
  if (tokens >= model.config.max_context) {
    return bad_input("the prompt has " + std::to_string(tokens) +
                     " tokens, which leaves no room in the model's context of " +
                     std::to_string(model.config.max_context));
  }
  return task;
}

// Steps the engine until all samples are there, by sample.
Result<std::vector<Rollout>> sample(Engine& engine, GroupTask task, TextOutput* text,
                                    const std::stop_token& stop) {
  std::vector<Rollout> rollouts(task.samples);
  uint32_t left = task.samples;
  engine.submit(std::move(task));
  while (left > 0) {
    if (stop.stop_requested()) return Error{ErrorClass::kCancelled, "generate was stopped"};
    EngineOutput out = engine.step(Clock::now());
    if (text != nullptr)
      for (const TokenEvent& event : out.tokens) text->put(event);
    for (Rollout& rollout : out.rollouts) {
      if (rollout.failure.failed()) return bad_input(rollout.failure.message);
      engine.release(rollout.lease);
      if (text != nullptr) text->finish(rollout.sample);
      const uint32_t index = rollout.sample;
      rollouts[index] = std::move(rollout);
      --left;
    }
  }
  return rollouts;
}

Result<void> run(const Config& config, const Options& options, const ModelFolder& model,
                 const std::string& prompt, const std::stop_token& stop) {
  TW_ASSIGN(GroupTask task, make_task(options, prompt, config, model));
  EngineOptions engine_settings = engine_options(config, model.config);
  engine_settings.stream = !options.json;
  engine_settings.max_sequences =
      std::min(engine_settings.max_sequences, static_cast<int32_t>(options.samples));
  TW_ASSIGN(const auto engine,
            make_engine(engine_settings, model.config, model.weights, model.tokenizer.get()));
  TextOutput text(*model.tokenizer, engine_settings.stop_tokens, options.samples);
  const auto rollouts = sample(*engine, std::move(task), options.json ? nullptr : &text, stop);
  if (!rollouts.ok()) {
    if (!options.json) text.end_line();
    return rollouts.error();
  }
  if (options.json) {
    for (const Rollout& rollout : *rollouts)
      std::fputs(json_line(rollout, prompt, *model.tokenizer).c_str(), stdout);
  }
  return flush_output();
}

std::string read_all(std::istream& in) {
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

}  // namespace

int cmd_generate(const Args& args) {
  CLI::App app(
      "Samples responses to a prompt and writes their text as it is sampled. The prompt is taken "
      "as it stands, line ends included.",
      "tracewise generate");
  ConfigSource source;
  Options options;
  app.add_option("prompt", options.prompt, "text of the prompt; without it standard input's")
      ->type_name("TEXT");
  add_config_options(app, source);
  add_key_option(app, source, "--model", "model.dir", "DIR", "Hugging Face folder");
  add_key_option(app, source, "--adapter", "lora.adapter", "DIR",
                 "adapter (PEFT folder) that is added to the model");
  add_key_option(app, source, "--dtype", "model.dtype", "DTYPE", "stored, float32 or bfloat16");
  add_key_option(app, source, "--temperature", "sampling.temperature", "T", "0 is greedy");
  add_key_option(app, source, "--top-k", "sampling.top_k", "K", "likeliest tokens kept; 0: all");
  add_key_option(app, source, "--top-p", "sampling.top_p", "P", "least probability kept");
  add_key_option(app, source, "--min-p", "sampling.min_p", "P", "share of the likeliest kept");
  add_key_option(app, source, "--max-new-tokens", "sampling.max_new_tokens", "N",
                 "tokens at which a response is cut off");
  add_key_option(app, source, "--seed", "run.seed", "N", "of the sampling");
  add_key_option(app, source, "--threads", "engine.threads", "N", "compute threads");
  app.add_option("--samples", options.samples, "responses to sample, written in turn")
      ->check(CLI::Range(1, 65536).description(""))
      ->type_name("N");
  app.add_flag("--json", options.json,
               "a line {\"prompt\", \"sample\", \"text\", \"tokens\", \"logprobs\", \"finish\"} "
               "for each sample, when all are there");
  if (const auto exit = parse_args(app, args)) return *exit;

  const auto config = load_config(source);
  if (!config.ok()) return fail(config.error());
  const auto model = load_model(*config);
  if (!model.ok()) return fail(model.error());
  const std::string prompt = options.prompt ? *options.prompt : read_all(std::cin);
  const std::stop_token stop = stop_on_signals();
  const auto result = run(*config, options, *model, prompt, stop);
  return result.ok() ? kExitDone : fail(result.error());
}

}  // namespace tracewise
