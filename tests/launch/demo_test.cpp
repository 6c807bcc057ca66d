// The demo's tasks: what they write is what their description says.
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "launch/demo/demo.hpp"
#include "model/model_folder.hpp"
#include "rollout/dataset.hpp"
#include "tests/temp_dir.hpp"

using namespace tracewise;

namespace {

// Share of traces whose answer is right, and their mean length in tokens with the end token.
std::pair<double, double> corpus_figures(const demo::Task& task, int traces) {
  const auto tokenizer = demo::make_tokenizer();
  REQUIRE(tokenizer.ok());
  SplitMix random(3);
  int right = 0;
  double tokens = 0;
  for (int i = 0; i < traces; ++i) {
    const demo::Problem problem = task.draw_problem(random);
    const std::string trace = task.draw_trace(problem, random);
    const auto ids = (*tokenizer)->encode(trace, false);
    REQUIRE(ids.ok());
    CHECK(ids->size() + 1 <= demo::kMaxResponseTokens);
    tokens += static_cast<double>(ids->size() + 1);
    right += trace.substr(trace.rfind("ans ") + 4) == task.gold(problem) ? 1 : 0;
  }
  return {static_cast<double>(right) / traces, tokens / traces};
}

}  // namespace

TEST_CASE("chains are evaluated left to right modulo the base") {
  CHECK(demo::apply(2, '-', 5, 10) == 7);
  CHECK(demo::apply(7, '*', 8, 10) == 6);
  const demo::Problem problem = {{{3, 8, 2}, "+*"}, {{4, 7, 1}, "*-"}};
  CHECK(demo::prompt_text(problem) == "3+8*2,4*7-1=\n");
  CHECK(demo::make_last_digit()->gold(problem) == "27");  // (3+8)*2 = 22, 4*7-1 = 27
  CHECK(demo::make_jump_lines()->gold(problem) == "22");  // modulo 5: 1*2 = 2, 3-1 = 2
}

TEST_CASE("the corpora have the accuracy and length of their description") {
  const auto [right, tokens] = corpus_figures(*demo::make_last_digit(), 4000);
  CHECK(right == Approx(0.819).margin(0.02));
  CHECK(tokens == Approx(65.6).margin(1.5));
  const auto [jump_right, jump_tokens] = corpus_figures(*demo::make_jump_lines(), 2000);
  CHECK(jump_right > 0.7);
  CHECK(jump_tokens < 45);
}

TEST_CASE("task files load as a user's own, and held-out prompts stay out of training") {
  const TempDir dir;
  const auto task = demo::make_task("last-digit");
  REQUIRE(task.ok());
  const auto files = demo::write_task_files(**task, dir.path(), 5, {300, 300, 40, 20});
  REQUIRE(files.ok());
  const auto model = load_model_folder(files->model);
  REQUIRE(model.ok());
  uint64_t weights = 0;
  for (const ParameterSpec& p : parameter_specs(model->config)) {
    uint64_t size = 1;
    for (const int64_t n : p.shape) size *= static_cast<uint64_t>(n);
    weights += size;
  }
  CHECK(weights == 281760);

  const auto load = [&](const std::filesystem::path& file) {
    auto prompts = load_prompts({.path = file}, *model->tokenizer);
    REQUIRE(prompts.ok());
    return *prompts;
  };
  std::set<std::vector<int32_t>> held_out;
  for (const Prompt& p : load(files->curve)) held_out.insert(p.tokens);
  for (const Prompt& p : load(files->prompts)) CHECK_FALSE(held_out.contains(p.tokens));
  const auto examples = load_supervised({.path = files->corpus}, *model->tokenizer, 2);
  REQUIRE(examples.ok());
  CHECK(examples->size() == 300);
  for (const SupervisedRow& row : *examples) {
    CHECK(row.tokens.back() == 2);
    const std::vector<int32_t> prompt(row.tokens.begin(), row.tokens.begin() + row.prompt_tokens);
    CHECK_FALSE(held_out.contains(prompt));
  }
}

TEST_CASE("an unknown task is refused with the names there are") {
  const auto refused = demo::make_task("jumps");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("jump") != std::string::npos);
}

TEST_CASE("claims compare SSPO with GRPO and with the start, and fail when the numbers do") {
  demo::DemoResult result;
  const auto outcome = [](const char* key, double accuracy, double tokens) {
    demo::Outcome o;
    o.key = key;
    o.final.result.accuracy = accuracy;
    o.final.result.tokens_mean = tokens;
    return o;
  };
  result.outcomes = {outcome("sft", 0.3, 53), outcome("grpo", 0.95, 60), outcome("sspo", 0.94, 45)};
  for (const demo::Claim& claim : demo::check_claims(result)) CHECK(claim.holds);
  result.outcomes[2] = outcome("sspo", 0.90, 55);  // 5 points below, 0.92 of the tokens
  const auto claims = demo::check_claims(result);
  REQUIRE(claims.size() == 3);
  CHECK(claims[0].holds);
  CHECK_FALSE(claims[1].holds);
  CHECK_FALSE(claims[2].holds);
}

TEST_CASE("the result's JSON has the contract's keys") {
  demo::DemoResult result;
  demo::Outcome o;
  o.key = "sspo";
  o.final.result.accuracy = 0.5;
  result.outcomes = {o};
  const auto json = nlohmann::json::parse(demo::result_json(result));
  CHECK(json.contains("seed"));
  for (const char* key : {"accuracy", "accuracy_ci", "tokens_mean", "steps_mean", "wall_s",
                          "train_steps", "probe_share", "samples_per_s"})
    CHECK(json["sspo"].contains(key));
  CHECK(json["sspo"]["accuracy_ci"].size() == 2);
}
