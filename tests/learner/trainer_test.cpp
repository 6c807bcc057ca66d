// The trainer against scripts/make_golden_loss.py: plain PyTorch in fp64, padded, token by token.
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <limits>

#include "learner/optimizer.hpp"
#include "model/safetensors.hpp"
#include "tests/learner/golden_model.hpp"
#include "tests/temp_dir.hpp"
#include "tests/tiny_model.hpp"

using namespace tracewise;
using namespace tracewise::testing;
using nlohmann::json;

namespace {

const std::filesystem::path kData = TRACEWISE_TEST_DATA;

json read_json(const std::string& name) {
  return json::parse(std::ifstream(kData / "learner" / name));
}

std::vector<SampleGroup> golden_groups(const json& golden) {
  std::vector<SampleGroup> groups;
  for (const json& r : golden["rollouts"]) {
    AdvantageRollout rollout;
    rollout.tokens = r["tokens"].get<std::vector<int32_t>>();
    rollout.prompt_tokens = r["prompt"];
    rollout.logprobs = r["logprobs"].get<std::vector<float>>();
    rollout.advantages = r["advantages"].get<std::vector<float>>();
    rollout.versions.assign(rollout.advantages.size(), 0);
    SampleGroup group;
    group.key.group = groups.size();
    group.rollouts.push_back(rollout);
    groups.push_back(group);
  }
  for (const json& p : golden["pairs"]) {
    StepPair pair;
    pair.prefix = p["prefix"].get<std::vector<int32_t>>();
    pair.chosen = p["chosen"].get<std::vector<int32_t>>();
    pair.rejected = p["rejected"].get<std::vector<int32_t>>();
    pair.margin = 1;
    groups[0].pairs.push_back(pair);
  }
  return groups;
}

}  // namespace

TEST_CASE("losses and gradients equal PyTorch's to 1e-4 for every term and aggregation") {
  const GoldenModel model = golden_model(kData);
  const json golden = read_json("golden.json");
  const std::map<std::string, LossAggregation> aggregations = {
      {"token_mean", LossAggregation::kTokenMean},
      {"sequence_mean", LossAggregation::kSequenceMean},
      {"sequence_sum_norm", LossAggregation::kSequenceSumNorm}};
  for (const json& c : golden["cases"]) {
    for (const int64_t micro_batch_tokens : {4, 1000}) {  // one rollout a pass, and all in one
      INFO(c["name"] << " in passes of " << micro_batch_tokens);
      const TempDir dir;
      TrainerOptions options;
      options.micro_batch_tokens = micro_batch_tokens;
      options.loss.aggregation = aggregations.at(c["aggregation"]);
      options.loss.clip_low = golden["clip_low"];
      options.loss.clip_high = golden["clip_high"];
      options.loss.max_response_tokens = golden["max_response_tokens"];
      options.loss.kl_beta = c.value("kl_beta", 0.0);
      options.loss.importance_cap = c.value("importance_cap", 0.0);
      options.loss.step_dpo_weight = c.value("step_dpo_weight", 0.0);
      options.loss.step_dpo_beta = c.value("step_dpo_beta", 0.1);
      // With beta1 = 0 and no clipping the first moment is the gradient.
      options.optimizer.beta1 = 0;
      options.optimizer.max_grad_norm = 0;
      auto trainer = moved_trainer(options, model, dir.path());
      const auto report = trainer->train(golden_groups(golden), 0, 0, dir.path());
      REQUIRE(report.ok());
      CHECK(metric(*report, "train/loss") == Approx(c["loss"].get<double>()).margin(1e-5));
      REQUIRE(trainer->save_optimizer(dir.path() / "state.safetensors").ok());
      const auto state = SafetensorsFile::open(dir.path() / "state.safetensors");
      REQUIRE(state.ok());
      check_digests(model.start->manifest(), state->find("adamw.mean")->bytes.data(),
                    c["gradients"], 1e-4);
    }
  }
}

TEST_CASE(
    "where all ratios are 1 a rollout's ratio has the tokens' gradient, in parts of the head") {
  ModelConfig config = tiny_model();
  config.vocab_size = 600'000;  // of which 27 rows are computed at once
  config.tied_head = true;
  config.width = 4, config.heads = 1, config.kv_heads = 1, config.head_dim = 4;
  config.mlp_width = 4, config.layers = 1;
  SampleGroup group;
  for (const size_t tokens : {40, 25}) {
    AdvantageRollout r;
    r.tokens = random_tokens(static_cast<int64_t>(tokens) + 2, 3);
    r.prompt_tokens = 2;
    // The policy at the start is the old one, and it is so much likelier that the cap gives 1.
    r.logprobs.assign(tokens, -100);
    r.advantages.assign(tokens, tokens == 40 ? 1.5f : -0.5f);
    r.versions.assign(tokens, 0);
    group.rollouts.push_back(r);
  }
  const auto gradient = [&](LossRatio ratio) {
    const TempDir dir;
    TrainerOptions options;
    options.loss = {
        .aggregation = LossAggregation::kSequenceMean, .ratio = ratio, .importance_cap = 1};
    options.optimizer.beta1 = 0;
    options.optimizer.max_grad_norm = 0;
    auto trainer = make_trainer(options, config, random_weights(config, 1));
    REQUIRE((*trainer)->train({&group, 1}, 0, 0, dir.path()).ok());
    REQUIRE((*trainer)->save_optimizer(dir.path() / "state.safetensors").ok());
    const auto state = SafetensorsFile::open(dir.path() / "state.safetensors");
    const auto bytes = state->find("adamw.mean")->bytes;
    std::vector<float> values(bytes.size() / 4);
    std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  };
  const std::vector<float> by_tokens = gradient(LossRatio::kToken);
  const std::vector<float> by_rollouts = gradient(LossRatio::kSequence);
  double largest = 0, difference = 0;
  for (size_t i = 0; i < by_tokens.size(); ++i) {
    largest = std::max<double>(largest, std::abs(by_tokens[i]));
    difference = std::max<double>(difference, std::abs(by_tokens[i] - by_rollouts[i]));
  }
  CHECK(largest > 1e-3);
  CHECK(difference < 1e-5 * largest);
}

TEST_CASE("two AdamW updates with clipping and decay give PyTorch's weights") {
  const GoldenModel model = golden_model(kData);
  const json golden = read_json("golden.json"), update = read_json("update.json");
  const TempDir dir;
  TrainerOptions options;
  options.loss.clip_low = golden["clip_low"];
  options.loss.clip_high = golden["clip_high"];
  options.optimizer.lr = update["lr"];
  options.optimizer.beta1 = update["beta1"];
  options.optimizer.beta2 = update["beta2"];
  options.optimizer.weight_decay = update["weight_decay"];
  options.optimizer.max_grad_norm = update["max_grad_norm"];
  auto trainer = moved_trainer(options, model, dir.path());
  for (const double norm : update["grad_norms"]) {
    const auto report = trainer->train(golden_groups(golden), 0, 0, dir.path());
    REQUIRE(report.ok());
    CHECK(metric(*report, "train/grad_norm") == Approx(norm).epsilon(1e-4));
  }
  const WeightsPtr weights = trainer->weights(2, allocate_weights);
  check_digests(weights->manifest(), weights->bytes().data(), update["weights"], 1e-5);
}

TEST_CASE("warm-up and schedules give the traced learning rates") {
  OptimizerOptions options;
  options.lr = 1.0;
  options.final_lr_ratio = 0.1;
  CHECK(learning_rate(options, 0, 0.7) == 1.0);
  options.warmup_steps = 4;
  CHECK(learning_rate(options, 0, 0.7) == Approx(0.25));
  CHECK(learning_rate(options, 3, 0.7) == Approx(1.0));
  options.warmup_steps = 0;
  options.schedule = LrSchedule::kLinear;
  CHECK(learning_rate(options, 9, 0.0) == Approx(1.0));
  CHECK(learning_rate(options, 9, 0.5) == Approx(0.55));
  CHECK(learning_rate(options, 9, 1.5) == Approx(0.1));
  options.schedule = LrSchedule::kCosine;
  CHECK(learning_rate(options, 9, 0.5) == Approx(0.55));
  CHECK(learning_rate(options, 9, 1.0) == Approx(0.1));
}

TEST_CASE("supervised loss is the weighted mean of the response's cross entropy") {
  const GoldenModel model = golden_model(kData);
  const TempDir dir;
  auto trainer = make_trainer({}, model.config, model.start);
  REQUIRE(trainer.ok());
  // Two examples apart and together: the mean weighs tokens, not examples.
  const SupervisedExample a{{1, 5, 9, 23}, 2, {}}, b{{1, 13, 4, 4, 17, 16}, 1, {1, 0, 0, 2, 1}};
  const auto loss = [&](std::vector<SupervisedExample> examples) {
    auto fresh = make_trainer({}, model.config, model.start);
    return metric(*(*fresh)->train_supervised(examples, 0, dir.path()), "train/loss");
  };
  CHECK(loss({a, b}) == Approx((2 * loss({a}) + 4 * loss({b})) / 6).epsilon(1e-5));
  double before = 0, after = 0;
  for (int i = 0; i < 20; ++i) {
    const auto report = (*trainer)->train_supervised(std::vector{a, b}, 0, dir.path());
    REQUIRE(report.ok());
    (i == 0 ? before : after) = metric(*report, "train/loss");
  }
  CHECK(after < before - 0.5);
}

TEST_CASE("the alarm sees rollouts that the learner's own weights sampled from end to end") {
  const GoldenModel model = golden_model(kData);
  const TempDir dir;
  TrainerOptions options;
  options.loss.importance_cap = 1.2;
  auto groups = golden_groups(read_json("golden.json"));
  for (SampleGroup& group : groups)
    for (uint64_t& version : group.rollouts[0].versions) version = 4;
  const auto train = [&](uint64_t version) {
    auto trainer = make_trainer(options, model.config, model.start);
    auto report = (*trainer)->train(groups, version, 0, dir.path());
    REQUIRE(report.ok());
    CHECK(has_metric(*report, "train/behaviour_ratio_max"));
    CHECK(metric(*report, "train/effective_sample_share") <= 1);
    return std::move(*report);
  };
  // The golden file's behaviour is nobody's: the gap is large.
  const TrainReport fresh = train(4);
  CHECK(metric(fresh, "train/fresh_logprob_gap_mean") ==
        Approx(metric(fresh, "train/logprob_gap_mean")));
  CHECK(metric(fresh, "train/fresh_logprob_gap_mean") > options.logprob_gap_alarm);
  CHECK(metric(fresh, "train/logprob_gap_alarm") == 1);
  REQUIRE(fresh.warnings.size() == 1);
  CHECK_THAT(fresh.warnings[0], Catch::Contains("trainer.logprob_gap_alarm = 0.05"));
  // Tokens of older weights differ rightly.
  const TrainReport stale = train(5);
  CHECK(stale.warnings.empty());
  CHECK_FALSE(has_metric(stale, "train/logprob_gap_alarm"));
  CHECK(metric(stale, "train/logprob_gap_max") == metric(fresh, "train/logprob_gap_max"));
  // So may those that go on from what older weights have left in the cache.
  for (SampleGroup& group : groups) group.rollouts[0].versions.back() = 5;
  CHECK_FALSE(has_metric(train(5), "train/logprob_gap_alarm"));
  options.logprob_gap_alarm = 0;
  for (SampleGroup& group : groups)
    for (uint64_t& version : group.rollouts[0].versions) version = 5;
  CHECK(train(5).warnings.empty());
}

TEST_CASE(
    "an update that is not finite is skipped, counted, and after several the batch is dumped") {
  const GoldenModel model = golden_model(kData);
  const TempDir dir;
  TrainerOptions options;
  options.max_bad_steps = 3;
  auto trainer = make_trainer(options, model.config, model.start);
  REQUIRE(trainer.ok());
  auto groups = golden_groups(read_json("golden.json"));
  const uint64_t before = (*trainer)->weights(0, allocate_weights)->manifest().checksum;
  groups[0].rollouts[0].advantages[0] = std::numeric_limits<float>::infinity();
  for (int i = 0; i < 2; ++i) {
    const auto report = (*trainer)->train(groups, 0, 0, dir.path());
    REQUIRE(report.ok());
    CHECK(report->skipped_updates == 1);
    CHECK_FALSE(has_metric(*report, "train/loss"));
  }
  CHECK((*trainer)->weights(0, allocate_weights)->manifest().checksum == before);
  const auto stopped = (*trainer)->train(groups, 0, 0, dir.path());
  REQUIRE_FALSE(stopped.ok());
  CHECK(stopped.error().message.find("3 updates in a row") != std::string::npos);
  std::ifstream dump(dir.path() / "bad_batch.jsonl");
  std::string line;
  REQUIRE(std::getline(dump, line));
  CHECK(json::parse(line)["advantages"][0].is_null());
}

TEST_CASE("a trainer restored from its checkpoint goes on to the same bits") {
  const GoldenModel model = golden_model(kData);
  const TempDir dir;
  TrainerOptions options;
  options.updates_per_batch = 2;
  options.seed = 5;
  const auto groups = golden_groups(read_json("golden.json"));
  auto straight = make_trainer(options, model.config, model.start);
  for (int i = 0; i < 3; ++i) REQUIRE((*straight)->train(groups, 0, 0, dir.path()).ok());

  auto first = make_trainer(options, model.config, model.start);
  REQUIRE((*first)->train(groups, 0, 0, dir.path()).ok());
  const WeightsPtr saved = (*first)->weights(1, allocate_weights);
  REQUIRE((*first)->save_optimizer(dir.path() / "o.safetensors").ok());
  auto second = make_trainer(options, model.config, model.start);
  REQUIRE((*second)->restore(saved, dir.path() / "o.safetensors").ok());
  for (int i = 0; i < 2; ++i) REQUIRE((*second)->train(groups, 0, 0, dir.path()).ok());
  CHECK((*second)->weights(3, allocate_weights)->manifest().checksum ==
        (*straight)->weights(3, allocate_weights)->manifest().checksum);
}

TEST_CASE("an optimizer file whose step count is no number is corrupt") {
  const GoldenModel model = golden_model(kData);
  const TempDir dir;
  const auto file = dir.path() / "o.safetensors";
  auto trainer = make_trainer({}, model.config, model.start);
  REQUIRE((*trainer)->save_optimizer(file).ok());
  for (const char* steps : {"x", "", "3 ", "-1", "99999999999999999999"}) {
    {
      const auto saved = SafetensorsFile::open(file);
      REQUIRE(saved.ok());
      std::vector<TensorView> views;
      for (const char* name : {"adamw.mean", "adamw.square"}) views.push_back(*saved->find(name));
      REQUIRE(write_safetensors(dir.path() / "bad.safetensors", views, {{"steps", steps}}).ok());
    }
    const auto refused = (*trainer)->restore(model.start, dir.path() / "bad.safetensors");
    INFO(steps);
    REQUIRE_FALSE(refused.ok());
    CHECK(refused.error().error_class == ErrorClass::kCorrupt);
    CHECK(refused.error().message.find("'steps'") != std::string::npos);
  }
}

TEST_CASE("an optimizer file of another model is refused by its tensor") {
  const GoldenModel model = golden_model(kData);
  const TempDir dir;
  const std::vector<float> few(8);
  const TensorView view{"adamw.mean", "F32", {8}, std::as_bytes(std::span(few))};
  REQUIRE(write_safetensors(dir.path() / "o.safetensors", {&view, 1}, {{"steps", "1"}}).ok());
  auto trainer = make_trainer({}, model.config, model.start);
  const auto refused = (*trainer)->restore(model.start, dir.path() / "o.safetensors");
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("adamw.mean") != std::string::npos);
}
