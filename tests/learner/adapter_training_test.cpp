// A trainer of a low-rank adapter. That A's and B's gradients are PEFT's:
// tests/model/adapter_test.cpp.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>

#include "learner/trainer.hpp"
#include "model/adapter.hpp"
#include "model/adapter_folder.hpp"
#include "model/merge_adapter.hpp"
#include "model/safetensors.hpp"
#include "model/scorer.hpp"
#include "tests/learner/rank_stores.hpp"
#include "tests/learner/rank_training.hpp"
#include "tests/temp_dir.hpp"

using namespace tracewise;

namespace {

struct Adapted {
  ModelConfig whole = testing::tiny_model();
  ModelConfig config = whole;
  WeightsPtr base = testing::random_weights(whole, 3);
  WeightsPtr start;

  explicit Adapted(std::vector<std::string> targets = adapter_modules()) {
    config.adapter = {4, 8, false, std::move(targets)};
    start = initial_adapter(config, base, 5);
  }
};

std::unique_ptr<Trainer> trainer_of(const TrainerOptions& options, const ModelConfig& config,
                                    const WeightsPtr& weights) {
  auto trainer = make_trainer(options, config, weights);
  REQUIRE(trainer.ok());
  return std::move(*trainer);
}

double metric(const TrainReport& report, const std::string& name) {
  for (const Metric& m : report.metrics)
    if (m.name == name) return m.value;
  FAIL("no metric " << name);
  return 0;
}

TrainReport train(Trainer& trainer, int batch, uint64_t version = 0) {
  const TempDir dir;
  auto report = trainer.train(ranks_batch(batch), version, 0, dir.path());
  INFO((report.ok() ? "" : report.error().message));
  REQUIRE(report.ok());
  return std::move(*report);
}

std::vector<float> elements(const Weights& weights, char factor) {
  std::vector<float> all;
  for (const TensorEntry& entry : weights.manifest().tensors) {
    if (!entry.name.ends_with(std::string(".lora_") + factor + ".weight")) continue;
    const auto* x = reinterpret_cast<const float*>(weights.bytes().data() + entry.offset);
    all.insert(all.end(), x, x + entry.bytes / sizeof(float));
  }
  return all;
}

double largest_difference(const Weights& a, const Weights& b) {
  const size_t count = a.bytes().size() / sizeof(float);
  REQUIRE(b.bytes().size() == a.bytes().size());
  const auto* x = reinterpret_cast<const float*>(a.bytes().data());
  const auto* y = reinterpret_cast<const float*>(b.bytes().data());
  double largest = 0;
  for (size_t i = 0; i < count; ++i)
    largest = std::max(largest, std::abs(static_cast<double>(x[i]) - y[i]));
  return largest;
}

}  // namespace

TEST_CASE("training an adapter changes A and B alone, and sends nothing else") {
  const Adapted model;
  const std::vector<std::byte> before(model.base->bytes().begin(), model.base->bytes().end());
  const auto trainer = trainer_of(ranks_options(), model.config, model.start);
  const WeightsPtr v0 = trainer->weights(0, allocate_weights);
  CHECK(v0->manifest().checksum == model.start->manifest().checksum);
  CHECK(v0->manifest().base_checksum == model.base->manifest().checksum);

  TrainerOptions options = ranks_options();
  options.optimizer.weight_decay = 0;
  const auto plain = trainer_of(options, model.config, model.start);
  train(*plain, 0);
  const WeightsPtr v1 = plain->weights(1, allocate_weights);
  // dA = s B^T dW is 0 as long as B is.
  CHECK(elements(*v1, 'A') == elements(*v0, 'A'));
  CHECK(elements(*v1, 'B') != elements(*v0, 'B'));
  train(*plain, 1);
  const WeightsPtr v2 = plain->weights(2, allocate_weights);
  CHECK(elements(*v2, 'A') != elements(*v0, 'A'));

  CHECK(std::equal(before.begin(), before.end(), model.base->bytes().begin()));
  CHECK(v2->manifest().tensors == version_layout(model.config).tensors);
  // Per layer: q 4*(32+48), k and v 4*(32+24), o 4*(48+32), gate and up 4*(32+40), down 4*(40+32).
  CHECK(v2->manifest().bytes == 2 * 4 * 4 * (80 + 2 * 56 + 80 + 3 * 72));
}

TEST_CASE("the first step of an adapter sees the loss of its base, bit for bit") {
  const Adapted model;
  const auto adapted = trainer_of(ranks_options(), model.config, model.start);
  const auto whole = trainer_of(ranks_options(), model.whole, model.base);
  CHECK(metric(train(*adapted, 0), "train/loss") == metric(train(*whole, 0), "train/loss"));
}

TEST_CASE("tokens that a generator samples with a version have the learner's log-probabilities") {
  const Adapted model;
  const auto trainer = trainer_of(ranks_options(), model.config, model.start);
  for (int i = 0; i < 3; ++i) train(*trainer, i);
  const WeightsPtr version = trainer->weights(3, allocate_weights);
  // As it arrives: without its base, which the generator has.
  auto scorer = make_scorer(model.config, version, {});
  REQUIRE(scorer.ok());
  std::vector<SampleGroup> groups = ranks_batch(3);
  std::vector<std::vector<int32_t>> tokens;
  for (const SampleGroup& group : groups) tokens.push_back(group.rollouts[0].tokens);
  const auto logprobs = (*scorer)->score(tokens);
  REQUIRE(logprobs.ok());
  for (size_t g = 0; g < groups.size(); ++g) {
    AdvantageRollout& r = groups[g].rollouts[0];
    r.logprobs.assign((*logprobs)[g].begin() + r.prompt_tokens - 1, (*logprobs)[g].end());
    r.versions.assign(r.advantages.size(), 3);
  }
  const TempDir dir;
  const auto report = trainer->train(groups, 3, 0, dir.path());
  REQUIRE(report.ok());
  CHECK(metric(*report, "train/fresh_logprob_gap_max") == 0);
  CHECK(metric(*report, "train/ratio_max") == 1);
}

TEST_CASE("the reference of an adapter is its base, also of one that did not start at 0") {
  const Adapted model({"q_proj", "down_proj"});
  TrainerOptions options = ranks_options();
  options.loss.kl_beta = 0.1;
  options.loss.step_dpo_weight = 0.5;
  options.loss.importance_cap = 2;
  const auto first = trainer_of(options, model.config, model.start);
  CHECK(metric(train(*first, 0), "train/kl") == Approx(0).margin(1e-9));
  for (int i = 1; i < 4; ++i) train(*first, i);
  const WeightsPtr moved = first->weights(4, allocate_weights);

  // The same policy and reference as whole weights.
  const TempDir dir;
  ModelConfig merged_config = model.config;
  const WeightsPtr merged = merge_adapter(merged_config, *moved);
  const auto whole = trainer_of(options, model.whole, model.base);
  REQUIRE(whole->save_optimizer(dir / "o").ok());
  REQUIRE(whole->restore(merged, dir / "o").ok());
  const TrainReport expected = train(*whole, 4);
  const TrainReport report = train(*trainer_of(options, model.config, moved), 4);
  CHECK(metric(expected, "train/kl") > 1e-6);
  for (const char* name : {"train/kl", "train/loss", "train/entropy"})
    CHECK(metric(report, name) == Approx(metric(expected, name)).epsilon(1e-5));
}

TEST_CASE("checkpointed layers and smaller passes give an adapter the same steps") {
  const Adapted model({"v_proj", "up_proj"});
  const auto trained = [&](const TrainerOptions& options) {
    const auto trainer = trainer_of(options, model.config, model.start);
    for (int i = 0; i < 2; ++i) train(*trainer, i);
    return trainer->weights(2, allocate_weights);
  };
  TrainerOptions options = ranks_options();
  const WeightsPtr plain = trained(options);
  options.activation_checkpointing = true;
  CHECK(trained(options)->manifest().checksum == plain->manifest().checksum);
  options.micro_batch_tokens = 4096;
  CHECK(largest_difference(*trained(options), *plain) < 1e-6);
}

TEST_CASE("an adapter's trainer restored from PEFT's files goes on to the same bits") {
  const Adapted model;
  const TempDir dir;
  const auto straight = trainer_of(ranks_options(), model.config, model.start);
  for (int i = 0; i < 4; ++i) train(*straight, i);

  const auto first = trainer_of(ranks_options(), model.config, model.start);
  for (int i = 0; i < 2; ++i) train(*first, i);
  REQUIRE(save_adapter(dir / "adapter", model.config, *first->weights(2, allocate_weights), "base")
              .ok());
  REQUIRE(first->save_optimizer(dir / "o").ok());
  const auto stored = SafetensorsFile::open(dir / "o");
  REQUIRE(stored.ok());
  CHECK(stored->tensors().size() == 2);
  CHECK(stored->find("adamw.mean")->bytes.size() == model.start->manifest().bytes);

  ModelConfig config = model.whole;
  auto saved = load_adapter(dir / "adapter", model.base, config);
  REQUIRE(saved.ok());
  CHECK(config == model.config);
  const auto second = trainer_of(ranks_options(), model.config, model.start);
  REQUIRE(second->restore(*saved, dir / "o").ok());
  for (int i = 2; i < 4; ++i) train(*second, i);
  CHECK(second->weights(4, allocate_weights)->manifest().checksum ==
        straight->weights(4, allocate_weights)->manifest().checksum);
}

TEST_CASE("two ranks train an adapter as one does, each over a base of its own") {
  const Adapted model;
  const auto one = trainer_of(ranks_options(), model.config, model.start);
  for (int i = 0; i < 3; ++i) train(*one, i);
  const WeightsPtr expected = one->weights(3, allocate_weights);
  std::vector<WeightsPtr> got(2);
  run_ranks(2, [&](int rank, RankGroupResult group) {
    if (!group.ok()) return;
    const Adapted own;
    const auto trainer = make_trainer(ranks_options(), own.config, own.start, *group);
    if (!trainer.ok()) return;
    for (int i = 0; i < 3; ++i)
      if (!(*trainer)->train(ranks_batch(i), 0, 0, "/nowhere").ok()) return;
    got[rank] = (*trainer)->weights(3, allocate_weights);
  });
  REQUIRE(got[0]);
  REQUIRE(got[1]);
  CHECK(got[0]->manifest().checksum == got[1]->manifest().checksum);
  CHECK(largest_difference(*got[0], *expected) < 1e-6);
  CHECK(largest_difference(*got[0], *model.start) > 1e-4);
}

TEST_CASE("ranks over different base weights are told, not trained") {
  std::vector<std::string> told(2);
  run_ranks(2, [&](int rank, RankGroupResult group) {
    if (!group.ok()) return;
    Adapted model;
    model.base = testing::random_weights(model.whole, 3 + static_cast<uint32_t>(rank));
    model.start = initial_adapter(model.config, model.base, 5);
    const auto trainer = make_trainer(ranks_options(), model.config, model.start, *group);
    told[rank] = trainer.ok() ? "" : trainer.error().message;
  });
  for (const std::string& message : told)
    CHECK(message == "rank 1 has other base weights than rank 0");
}

TEST_CASE("an adapter over bf16 weights is trained in fp32 and learns its examples") {
  Adapted model;
  model.base = cast_weights(model.whole, model.base, "BF16");
  model.config.dtype = model.whole.dtype = "BF16";
  model.start = initial_adapter(model.config, model.base, 5);
  TrainerOptions options = ranks_options();
  options.optimizer.lr = 0.01;
  const auto trainer = trainer_of(options, model.config, model.start);
  const std::vector<SupervisedExample> examples = {{{1, 5, 7, 9, 2}, 2, {}},
                                                   {{1, 6, 3, 3, 2}, 2, {}}};
  const TempDir dir;
  std::vector<double> losses;
  for (int i = 0; i < 40; ++i) {
    const auto report = trainer->train_supervised(examples, 0, dir.path());
    REQUIRE(report.ok());
    losses.push_back(metric(*report, "train/loss"));
  }
  CHECK(losses.front() > 2);
  CHECK(losses.back() < 0.1);
  CHECK(trainer->weights(40, allocate_weights)->manifest().dtype == "F32");
}
