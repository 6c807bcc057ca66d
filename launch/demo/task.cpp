#include "launch/demo/task.hpp"

#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <set>

#include "model/init.hpp"
#include "model/model_folder.hpp"

namespace tracewise::demo {
namespace {

const std::vector<std::string> kSymbols = {
    "<pad>", "<bos>", "<eos>", "\n", "0", "1", "2",    "3",      "4",   "5",   "6",    "7",
    "8",     "9",     "+",     "-",  "*", "=", "ans ", "check ", " ok", " no", "wait", ","};
constexpr int32_t kPad = 0, kBos = 1, kEos = 2;

// Writes `count` rows made by `row`.
Result<void> write_rows(const std::filesystem::path& file, int64_t count,
                        const std::function<nlohmann::json()>& row) {
  std::ofstream out(file);
  for (int64_t i = 0; i < count; ++i) out << row().dump() << '\n';
  out.flush();
  if (!out) return io_error("cannot write " + file.string());
  return {};
}

}  // namespace

int apply(int a, char op, int b, int base) {
  const int x = op == '+' ? a + b : op == '-' ? a - b : a * b;
  return (x % base + base) % base;
}

std::string prompt_text(const Problem& problem) {
  std::string text;
  for (const Chain& chain : problem) {
    if (!text.empty()) text += ',';
    text += std::to_string(chain.digits[0]);
    for (size_t i = 0; i < chain.operators.size(); ++i)
      text += chain.operators[i] + std::to_string(chain.digits[i + 1]);
  }
  return text + "=\n";
}

std::string Task::gold(const Problem& problem) const {
  std::string digits;
  for (const Chain& chain : problem) {
    int value = chain.digits[0];
    for (size_t i = 0; i < chain.operators.size(); ++i)
      value = apply(value, chain.operators[i], chain.digits[i + 1], base());
    digits += std::to_string(value);
  }
  return digits;
}

Result<std::unique_ptr<Task>> make_task(const std::string& name) {
  if (name == "last-digit") return make_last_digit();
  if (name == "jump") return make_jump_lines();
  return bad_input("there is no demo task '" + name + "'; there are last-digit and jump");
}

Result<std::unique_ptr<Tokenizer>> make_tokenizer() {
  return make_symbol_tokenizer(kSymbols, {kPad, kBos, kEos}, kBos);
}

ModelConfig model_config() {
  ModelConfig config;
  config.vocab_size = static_cast<int64_t>(kSymbols.size());
  config.width = 96;
  config.layers = 3;
  config.heads = 4;
  config.kv_heads = 4;
  config.head_dim = 24;
  config.mlp_width = 192;
  config.max_context = 192;
  config.rope_theta = 100;
  config.bos_token = kBos;
  config.pad_token = kPad;
  config.eos_tokens = {kEos};
  return config;
}

TaskFiles task_files(const std::filesystem::path& dir) {
  return {dir / "corpus.jsonl", dir / "prompts.jsonl", dir / "curve.jsonl", dir / "final.jsonl",
          dir / "model"};
}

Result<TaskFiles> write_task_files(const Task& task, const std::filesystem::path& dir,
                                   uint64_t seed, const TaskSizes& sizes) {
  std::error_code failed;
  std::filesystem::create_directories(dir, failed);
  if (failed) return io_error("cannot make the folder " + dir.string() + ": " + failed.message());
  const TaskFiles files = task_files(dir);
  const auto prompt_row = [&](const Problem& problem) {
    return nlohmann::json{{"prompt", prompt_text(problem)}, {"answer", task.gold(problem)}};
  };

  std::set<std::string> held_out;
  SplitMix curve_random(999);
  TW_TRY(write_rows(files.curve, sizes.curve, [&] {
    const Problem problem = task.draw_problem(curve_random);
    held_out.insert(prompt_text(problem));
    return prompt_row(problem);
  }));
  SplitMix final_random(4242);
  TW_TRY(write_rows(files.final, sizes.final,
                    [&] { return prompt_row(task.draw_problem(final_random)); }));
  const auto fresh_problem = [&](SplitMix& random) {
    Problem problem;
    do {
      problem = task.draw_problem(random);
    } while (held_out.contains(prompt_text(problem)));
    return problem;
  };
  SplitMix corpus_random(seed, 1000);
  TW_TRY(write_rows(files.corpus, sizes.corpus, [&] {
    const Problem problem = fresh_problem(corpus_random);
    return nlohmann::json{{"prompt", prompt_text(problem)},
                          {"response", task.draw_trace(problem, corpus_random)}};
  }));
  SplitMix prompt_random(seed, 50000);
  TW_TRY(write_rows(files.prompts, sizes.prompts,
                    [&] { return prompt_row(fresh_problem(prompt_random)); }));

  TW_ASSIGN(const auto tokenizer, make_tokenizer());
  const ModelConfig config = model_config();
  TW_TRY(save_model_folder(files.model, config, *tokenizer, *initial_weights(config, seed)));
  return files;
}

}  // namespace tracewise::demo
