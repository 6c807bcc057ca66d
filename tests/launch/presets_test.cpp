// The algorithm presets in configs/ against scripts/make_golden_presets.py: advantages, loss and
// gradient of one batch, by the formulas of the papers in fp64.
#include <catch2/catch.hpp>
#include <cstring>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <variant>

#include "launch/config.hpp"
#include "learner/sample_group.hpp"
#include "model/safetensors.hpp"
#include "rollout/rewards/shaping.hpp"
#include "tests/learner/golden_model.hpp"
#include "tests/temp_dir.hpp"

using namespace tracewise;
using namespace tracewise::testing;
using nlohmann::json;

namespace {

const std::filesystem::path kConfigs = TRACEWISE_CONFIGS;

std::string text_of(const std::filesystem::path& file) {
  std::ostringstream text;
  text << std::ifstream(file).rdbuf();
  return text.str();
}

const json& golden() {
  static const json all =
      json::parse(text_of(std::filesystem::path(TRACEWISE_TEST_DATA) / "learner/presets.json"));
  return all;
}

Config preset(const std::string& name, const std::vector<std::string>& sets = {}) {
  auto config = load_config({{kConfigs / (name + ".toml")}, sets});
  INFO((config.ok() ? std::string() : config.error().message));
  REQUIRE(config.ok());
  REQUIRE(check_training(*config).ok());
  return *config;
}

// What is no algorithm: tasks, their supervised starts and where a cluster is.
bool is_algorithm(const std::string& name) {
  return name != "demo" && !name.starts_with("sft") && !name.starts_with("smollm2_") &&
         !name.starts_with("cluster_");
}

std::set<std::string> presets() {
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kConfigs))
    if (is_algorithm(entry.path().stem())) names.insert(entry.path().stem());
  return names;
}

// The golden file's rollouts as the tracer would hand them on, in their groups.
std::vector<std::vector<TracedRollout>> traced_groups(const Config& config) {
  const Shaping shaping = *Shaping::make(config.reward_terms);
  std::vector<std::vector<TracedRollout>> groups;
  for (const json& row : golden()["rollouts"]) {
    const size_t group = row["group"];
    if (group == groups.size()) groups.emplace_back();
    TracedRollout traced;
    Rollout& r = traced.rollout;
    r.key.group = group;
    r.sample = static_cast<uint32_t>(groups[group].size());
    r.prompt.tokens = row["prompt"].get<std::vector<int32_t>>();
    r.tokens = row["tokens"].get<std::vector<int32_t>>();
    r.policy_logprobs = row["logprobs"].get<std::vector<float>>();
    r.logprobs = r.policy_logprobs;
    r.versions.assign(r.tokens.size(), 0);
    traced.step_ends = row["ends"].get<std::vector<int32_t>>();
    traced.values = row["values"].get<std::vector<float>>();
    traced.reward = row["reward"].get<float>();
    traced.shaping = shaping.of(r.prompt, r.tokens, "", r.finish).sum;
    groups[group].push_back(std::move(traced));
  }
  return groups;
}

std::vector<SampleGroup> sample_groups(const Config& config) {
  std::vector<SampleGroup> groups;
  for (auto& rollouts : traced_groups(config)) {
    auto built = build_group(std::move(rollouts), config.group);
    REQUIRE(std::holds_alternative<SampleGroup>(built));
    groups.push_back(std::get<SampleGroup>(std::move(built)));
  }
  finish_batch(groups, config.group.advantage);
  return groups;
}

// Each token has its step's advantage; a group that is left out has no rollouts.
void check_advantages(const std::vector<SampleGroup>& groups, const json& wanted) {
  size_t row = 0;
  for (const auto& traced : traced_groups(Config{})) {
    const SampleGroup& group = groups.at(traced.front().rollout.key.group);
    for (const TracedRollout& t : traced) {
      INFO("group " << group.key.group << ", sample " << t.rollout.sample);
      const json& steps = wanted[row++];
      if (steps.is_null()) {
        CHECK(group.rollouts.empty());
        continue;
      }
      REQUIRE(group.rollouts.size() == traced.size());
      const std::vector<float>& tokens = group.rollouts[t.rollout.sample].advantages;
      REQUIRE(tokens.size() == t.rollout.tokens.size());
      for (size_t i = 0, k = 0; i < tokens.size(); ++i) {
        if (static_cast<int32_t>(i) == t.step_ends[k]) ++k;
        CHECK(tokens[i] == Approx(steps[k].get<double>()).margin(1e-5));
      }
    }
  }
}

// One update whose first moment is the gradient.
TrainerOptions one_update(TrainerOptions options, int64_t micro_batch_tokens) {
  options.updates_per_batch = 1;
  options.micro_batch_tokens = micro_batch_tokens;
  options.optimizer.beta1 = 0;
  options.optimizer.max_grad_norm = 0;
  return options;
}

}  // namespace

TEST_CASE("each preset's advantages, loss and gradient are those of its paper") {
  GoldenModel model = golden_model(TRACEWISE_TEST_DATA);
  model.config.max_context = 128;  // one response is long enough to be overlong
  for (const json& c : golden()["cases"]) {
    const Config config = preset(c["preset"], c["sets"].get<std::vector<std::string>>());
    INFO(c["preset"] << " " << c["sets"]);
    const std::vector<SampleGroup> groups = sample_groups(config);
    check_advantages(groups, c["advantages"]);
    for (const int64_t tokens : {8, 1000}) {  // one rollout a pass, and all in one
      INFO("in passes of " << tokens);
      const TempDir dir;
      auto trainer = moved_trainer(one_update(config.trainer, tokens), model, dir.path());
      const auto report = trainer->train(groups, 0, 0, dir.path());
      REQUIRE(report.ok());
      CHECK(metric(*report, "train/loss") == Approx(c["loss"].get<double>()).margin(1e-5));
      CHECK(metric(*report, "train/clip_share") == Approx(c["clip_share"].get<double>()));
      REQUIRE(trainer->save_optimizer(dir.path() / "state.safetensors").ok());
      const auto state = SafetensorsFile::open(dir.path() / "state.safetensors");
      REQUIRE(state.ok());
      check_digests(model.start->manifest(), state->find("adamw.mean")->bytes.data(),
                    c["gradients"], 1e-4);
    }
  }
}

TEST_CASE("every algorithm in configs/ has a golden case and a row in the table of presets") {
  std::set<std::string> cases;
  for (const json& c : golden()["cases"]) cases.insert(c["preset"].get<std::string>());
  CHECK(presets() == cases);
  const std::string docs = text_of(kConfigs.parent_path() / "docs/algorithm.md");
  for (const std::string& name : presets()) {
    INFO(name);
    CHECK(docs.find("\n| `" + name + "` |") != std::string::npos);
  }
}

TEST_CASE("DAPO alone replaces groups without a signal") {
  for (const std::string& name : presets()) {
    INFO(name);
    CHECK(preset(name).run.max_refilled_groups == (name == "dapo" ? 96 : 0));
  }
}

TEST_CASE("each preset prints what it sets, and what it prints reads back to the same") {
  // Of [advantage], [loss] and [probe].
  const std::map<std::string, std::vector<std::string>> wanted = {
      {"sspo",
       {"plug_in", "grpo", "keep_solved", "token_mean", "token", "0.2", "0.28", "likelihood"}},
      {"sspo_answer",
       {"plug_in", "grpo", "keep_solved", "token_mean", "token", "0.2", "0.28", "answer"}},
      {"sspo_verbal",
       {"plug_in", "grpo", "keep_solved", "token_mean", "token", "0.2", "0.28", "verbal"}},
      {"sspo_step_group",
       {"step_group", "grpo", "drop", "token_mean", "token", "0.2", "0.28", "likelihood"}},
      {"vineppo_like",
       {"step_group", "grpo", "drop", "token_mean", "token", "0.2", "0.2", "answer"}},
      {"mrt_like", {"plug_in", "grpo", "drop", "token_mean", "token", "0.2", "0.28", "likelihood"}},
      {"grpo", {"outcome", "grpo", "drop", "sequence_mean", "token", "0.2", "0.2", "none"}},
      {"grpo_length_penalty",
       {"outcome", "grpo", "drop", "sequence_mean", "token", "0.2", "0.2", "none"}},
      {"dr_grpo",
       {"outcome", "dr_grpo", "drop", "sequence_sum_norm", "token", "0.2", "0.2", "none"}},
      {"dapo", {"outcome", "grpo", "drop", "token_mean", "token", "0.2", "0.28", "none"}},
      {"gspo", {"outcome", "grpo", "drop", "sequence_mean", "sequence", "3e-4", "4e-4", "none"}},
      {"rloo", {"outcome", "rloo", "drop", "sequence_sum_norm", "token", "0.2", "0.2", "none"}},
      {"reinforce_pp",
       {"outcome", "reinforce_pp", "keep", "token_mean", "token", "0.2", "0.2", "none"}},
      {"reinforce_pp_baseline",
       {"outcome", "reinforce_pp_baseline", "keep", "token_mean", "token", "0.2", "0.2", "none"}}};
  const std::vector<std::string> keys = {
      "advantage.kind", "advantage.base", "advantage.uniform_groups", "loss.aggregation",
      "loss.ratio",     "loss.clip_low",  "loss.clip_high",           "probe.mode"};
  for (const std::string& name : presets()) {
    INFO(name);
    const Config config = preset(name);
    const auto& values = wanted.at(name);
    for (size_t i = 0; i < keys.size(); ++i) {
      const std::string printed = config_toml(config, false, keys[i]);
      const bool is_number = std::isdigit(static_cast<unsigned char>(values[i][0])) != 0;
      const std::string value = is_number ? values[i] : "\"" + values[i] + "\"";
      INFO(keys[i]);
      CHECK(printed.substr(printed.find('=') + 2) == value + "\n");
    }
    const TempDir dir;
    std::ofstream(dir.path() / "printed.toml") << config_toml(config, true);
    const auto again = load_config({{dir.path() / "printed.toml"}, {}});
    REQUIRE(again.ok());
    CHECK(config_toml(*again, false) == config_toml(config, false));
  }
}
