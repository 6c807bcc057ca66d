// The demo's tasks: what they write is what their description says.
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "launch/demo/demo.hpp"
#include "launch/supervised.hpp"
#include "launch/training.hpp"
#include "model/model_folder.hpp"
#include "rollout/data/dataset.hpp"
#include "tests/launch/tiny_demo.hpp"
#include "tests/temp_dir.hpp"

using namespace tracewise;
using testing::must;

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

TEST_CASE("a claim is made only where its methods were trained") {
  demo::DemoResult result;
  result.outcomes.resize(2);
  result.outcomes[0].key = "sft";
  result.outcomes[1].key = "sspo";
  const auto claims = demo::check_claims(result);
  REQUIRE(claims.size() == 1);  // SSPO learns: 0 is not 0.25 above 0
  CHECK_FALSE(claims[0].holds);
  result.outcomes[1].key = "grpo";
  CHECK(demo::check_claims(result).empty());
}

TEST_CASE("methods are chosen by key, and a wrong key names the right ones") {
  const auto methods = demo::methods_of("jump");
  const auto keys_of = [&](const std::vector<std::string>& keys, bool all) {
    std::vector<std::string> chosen;
    for (const demo::Method& m : must(demo::choose_methods(methods, keys, all)))
      chosen.push_back(m.key);
    return chosen;
  };
  CHECK(keys_of({}, false) == std::vector<std::string>{"grpo", "sspo"});
  CHECK(keys_of({"shuffled", "grpo"}, false) == std::vector<std::string>{"grpo", "shuffled"});
  CHECK(keys_of({}, true).size() == methods.size());
  const auto refused = demo::choose_methods(methods, {"ssop"}, false);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().error_class == ErrorClass::kBadInput);
  CHECK(refused.error().message.find("did you mean sspo?") != std::string::npos);
}

TEST_CASE("the result's JSON has the contract's keys") {
  demo::DemoResult result;
  result.options.seed = 7;
  for (const char* key : {"sft", "grpo", "sspo"}) {
    demo::Outcome o;
    o.key = key;
    o.final.result.accuracy = 0.5;
    result.outcomes.push_back(o);
  }
  const auto json = nlohmann::json::parse(demo::result_json(result));
  CHECK(json["seed"] == 7);
  for (const char* method : {"sft", "grpo", "sspo"}) {
    for (const char* key : {"accuracy", "accuracy_ci", "tokens_mean", "steps_mean", "wall_s",
                            "train_steps", "probe_share", "samples_per_s"}) {
      INFO(method << " " << key);
      CHECK(json[method].contains(key));
    }
    CHECK(json[method]["accuracy"] == 0.5);
    CHECK(json[method]["accuracy_ci"].size() == 2);
  }
}

TEST_CASE("every preset in configs/ makes a run that can be trained") {
  const testing::TinyDemo demo;
  const auto prompts = demo.dir.put("prompts.jsonl", R"({"prompt": "3+8*2=\n", "answer": "2"})");
  size_t presets = 0;
  for (const auto& entry : std::filesystem::directory_iterator(TRACEWISE_CONFIGS)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("sft") || name.ends_with("_sft.toml") || name == "demo.toml") continue;
    INFO(name);
    // The tiny vocabulary spells no sentence, so probes that have a text get one of its own.
    auto sets = demo.sets({"data.prompts=" + prompts.string()});
    if (name == "smollm2_sspo.toml") sets.push_back("data.eval_prompts=" + prompts.string());
    if (name == "vineppo_like.toml") std::erase(sets, "probe.text=ans ");
    std::vector<std::filesystem::path> files = {entry.path()};
    // Where a cluster is goes behind what its run does.
    if (name == "cluster_ssh.toml" || name == "cluster_slurm.toml")
      files.insert(files.begin(), std::filesystem::path(TRACEWISE_CONFIGS) / "cluster_local.toml");
    const Config config = must(load_config({files, sets}));
    const auto model = std::make_shared<const ModelFolder>(must(load_model(config)));
    CHECK(run_parts(std::make_shared<const Config>(config), model,
                    must(load_run_data(config, *model)))
              .ok());
    ++presets;
  }
  CHECK(presets >= 10);
}

TEST_CASE("what is wrong with a run's input is found before there is a run folder") {
  const testing::TinyDemo demo;
  const auto prompts = demo.dir.put("prompts.jsonl", R"({"prompt": "3+8*2=\n", "answer": "2"})");
  const auto abc = demo.dir.put("abc.jsonl", R"({"prompt": "3+8*2=\n", "answer": "+"})");
  for (const auto& [set, why] : std::vector<std::pair<std::string, std::string>>{
           {"trainer.device=cuda:7", "cuda:7"},
           {"engine.device=cuda:7", "cuda:7"},
           {"probe.text=Answer: ", "probe text"},
           {"data.prompts=" + abc.string(), "no number"}}) {
    const auto folder = demo.dir / "run";
    const auto refused = start_training(
        demo.config({"probe.mode=likelihood", "verifier.kind=numeric", "run.steps=1",
                     "data.prompts=" + prompts.string(), "run.dir=" + folder.string(), set}),
        {}, {}, nullptr);
    INFO(set);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().message.find(why) != std::string::npos);
    CHECK_FALSE(std::filesystem::exists(folder));
  }
}

TEST_CASE("a warm start finds out before training that it cannot write its model") {
  const testing::TinyDemo demo;
  const auto rows = demo.dir.put("rows.jsonl", R"({"prompt": "3+8=\n", "response": "ans 1"})");
  std::filesystem::create_directory(demo.dir / "other");
  demo.dir.put("other/file", "something else");
  const auto refused = train_supervised(
      demo.config({"sft.data=" + rows.string(), "sft.out=" + (demo.dir / "other").string()}), {},
      [](const SupervisedProgress&) { FAIL("it trained"); });
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("not a model folder") != std::string::npos);
}
