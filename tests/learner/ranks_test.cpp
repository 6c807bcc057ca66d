// Several ranks against one: the same batches must give the same learner.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <limits>
#include <optional>

#include "learner/trainer.hpp"
#include "messages/random.hpp"
#include "model/safetensors.hpp"
#include "tests/learner/rank_stores.hpp"
#include "tests/learner/rank_training.hpp"
#include "tests/process.hpp"

using namespace tracewise;

namespace {

struct Trained {
  std::string error;
  std::vector<TrainReport> reports;
  WeightsPtr weights;
};

// What rank 0 got from `body`, and the first error of any rank. Ranks above 0 start without
// weights.
Trained train_ranks(int size, const TrainerOptions& options, const ModelConfig& config,
                    const WeightsPtr& start,
                    const std::function<Result<void>(int, Trainer&, Trained&)>& body) {
  std::vector<Trained> ranks(static_cast<size_t>(size));
  run_ranks(size, [&](int rank, RankGroupResult group) {
    const auto run = [&]() -> Result<void> {
      TW_TRY(group);
      TW_ASSIGN(const auto trainer,
                make_trainer(options, config, rank == 0 ? start : nullptr, *group));
      TW_TRY(body(rank, *trainer, ranks[rank]));
      ranks[rank].weights = trainer->weights(1, allocate_weights);
      return {};
    };
    if (const auto done = run(); !done.ok()) ranks[rank].error = done.error().message;
  });
  for (const Trained& rank : ranks) {
    if (!rank.error.empty()) return rank;
    CHECK(rank.weights->manifest().checksum == ranks[0].weights->manifest().checksum);
  }
  return ranks[0];
}

// `batches` training steps, then the optimizer in `file`.
auto training(int batches, const std::filesystem::path& file) {
  return [=](int rank, Trainer& trainer, Trained& trained) -> Result<void> {
    for (int i = 0; i < batches; ++i) {
      TW_ASSIGN(TrainReport report, trainer.train(ranks_batch(i), 0, 0.1 * i, file.parent_path()));
      trained.reports.push_back(std::move(report));
    }
    return trainer.save_optimizer(rank == 0 ? file : "/nowhere/at/all");
  };
}

double metric(const TrainReport& report, const std::string& name) {
  for (const Metric& m : report.metrics)
    if (m.name == name) return m.value;
  return std::numeric_limits<double>::quiet_NaN();
}

std::vector<float> floats(std::span<const std::byte> bytes) {
  std::vector<float> values(bytes.size() / sizeof(float));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
  return values;
}

double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double largest = 0;
  for (size_t i = 0; i < a.size(); ++i)
    largest = std::max(largest, std::abs(static_cast<double>(a[i]) - b[i]));
  return largest;
}

// Compares the tensors of two optimizer files; both count `steps`.
void check_same_state(const std::filesystem::path& a, const std::filesystem::path& b,
                      const std::string& steps, double tolerance) {
  const auto x = SafetensorsFile::open(a), y = SafetensorsFile::open(b);
  REQUIRE(x.ok());
  REQUIRE(y.ok());
  CHECK(x->metadata() == y->metadata());
  CHECK(x->metadata().at("steps") == steps);
  REQUIRE(x->tensors().size() == y->tensors().size());
  for (const TensorView& tensor : x->tensors()) {
    INFO(tensor.name);
    REQUIRE(y->find(tensor.name) != nullptr);
    CHECK(largest_difference(floats(tensor.bytes), floats(y->find(tensor.name)->bytes)) <=
          tolerance);
  }
}

void check_same_weights(const WeightsPtr& a, const WeightsPtr& b, double tolerance) {
  CHECK(largest_difference(floats(a->bytes()), floats(b->bytes())) <= tolerance);
}

}  // namespace

TEST_CASE("after 5 updates parameters and moments are the same for 1 and 2 and 4 ranks") {
  const TempDir dir;
  const ModelConfig config = testing::tiny_model();
  const WeightsPtr start = testing::random_weights(config, 3);
  struct Case {
    const char* name;
    std::function<void(TrainerOptions&)> change;
  };
  const std::vector<Case> cases = {
      {"token mean, one update a batch", [](TrainerOptions&) {}},
      {"three updates a batch, of few rollouts",
       [](TrainerOptions& o) {
         o.updates_per_batch = 3;
         o.loss.aggregation = LossAggregation::kSequenceMean;
       }},
      {"pairs, KL and importance cap",
       [](TrainerOptions& o) {
         o.loss.kl_beta = 0.1;
         o.loss.importance_cap = 2;
         o.loss.step_dpo_weight = 0.5;
         o.loss.aggregation = LossAggregation::kSequenceSumNorm;
       }},
      {"ratios of whole rollouts, several updates a batch",
       [](TrainerOptions& o) {
         o.updates_per_batch = 3;
         o.loss.ratio = LossRatio::kSequence;
         o.loss.importance_cap = 1.1;
         o.loss.aggregation = LossAggregation::kSequenceMean;
       }},
      {"buckets smaller than a tensor, which don't divide the buffer",
       [](TrainerOptions& o) { o.bucket_bytes = 1000; }},
      {"fewer rollouts than ranks", [](TrainerOptions& o) { o.updates_per_batch = 5; }},
  };
  for (const Case& c : cases) {
    TrainerOptions options = ranks_options();
    c.change(options);
    const int batches = options.updates_per_batch == 1 ? 5 : 2;
    const auto one = train_ranks(1, options, config, start, training(batches, dir / "1"));
    REQUIRE(one.error == "");
    CHECK(std::isnan(metric(one.reports[0], "train/exchange_seconds")));
    const std::string steps = std::to_string(batches * options.updates_per_batch);
    for (const int size : {2, 4}) {
      INFO(c.name << ", " << size << " ranks");
      const auto file = dir / std::to_string(size);
      const auto several = train_ranks(size, options, config, start, training(batches, file));
      REQUIRE(several.error == "");
      check_same_weights(several.weights, one.weights, 1e-6);
      check_same_state(file, dir / "1", steps, 1e-6);
      for (int i = 0; i < batches; ++i) {
        for (const Metric& m : one.reports[i].metrics) {
          INFO(m.name);
          CHECK(metric(several.reports[i], m.name) == Approx(m.value).epsilon(1e-4).margin(1e-6));
        }
        CHECK(metric(several.reports[i], "train/exchange_seconds") > 0);
        CHECK(metric(several.reports[i], "train/rank_token_balance") >= 1);
        CHECK(several.reports[i].trained_tokens == one.reports[i].trained_tokens);
      }
    }
  }
}

TEST_CASE("a bf16 model's ranks agree with each other, and with one rank to bf16's precision") {
  const TempDir dir;
  ModelConfig config = testing::tiny_model();
  const WeightsPtr wide = testing::random_weights(config, 3);
  config.dtype = "BF16";
  const WeightsPtr start = cast_weights(testing::tiny_model(), wide, "BF16");
  TrainerOptions options = ranks_options();
  options.bucket_bytes = 1000;
  const auto one = train_ranks(1, options, config, start, training(3, dir / "1"));
  const auto two = train_ranks(2, options, config, start, training(3, dir / "2"));
  REQUIRE(one.error == "");
  REQUIRE(two.error == "");
  const auto x = SafetensorsFile::open(dir / "1"), y = SafetensorsFile::open(dir / "2");
  CHECK(largest_difference(floats(x->find("master")->bytes), floats(y->find("master")->bytes)) <
        6 * options.optimizer.lr);  // each of 3 updates moves a parameter by about lr at most
}

TEST_CASE("supervised updates are those of one rank, whatever the number of ranks") {
  const TempDir dir;
  const ModelConfig config = testing::tiny_model();
  const WeightsPtr start = testing::random_weights(config, 3);
  const auto supervised = [&](int, Trainer& trainer, Trained& trained) -> Result<void> {
    for (int i = 0; i < 5; ++i) {
      std::vector<SupervisedExample> examples;
      for (const SampleGroup& g : ranks_batch(i))
        examples.push_back({g.rollouts[0].tokens, g.rollouts[0].prompt_tokens, {}});
      if (i == 4) examples.resize(2);  // fewer than ranks
      TW_ASSIGN(TrainReport report, trainer.train_supervised(examples, 0, dir.path()));
      trained.reports.push_back(std::move(report));
    }
    return {};
  };
  const auto one = train_ranks(1, ranks_options(), config, start, supervised);
  for (const int size : {2, 4}) {
    const auto several = train_ranks(size, ranks_options(), config, start, supervised);
    REQUIRE(several.error == "");
    check_same_weights(several.weights, one.weights, 1e-6);
    CHECK(metric(several.reports[4], "train/loss") ==
          Approx(metric(one.reports[4], "train/loss")).epsilon(1e-5));
  }
}

TEST_CASE("two ranks' checkpoint resumes with 4, 2 and 1 ranks where it was") {
  const TempDir dir;
  const ModelConfig config = testing::tiny_model();
  const WeightsPtr start = testing::random_weights(config, 3);
  TrainerOptions options = ranks_options();
  options.loss.kl_beta = 0.1;
  const auto straight = train_ranks(1, options, config, start, training(5, dir / "straight"));
  const auto saved = train_ranks(2, options, config, start, training(3, dir / "saved"));
  REQUIRE(saved.error == "");
  for (const int size : {4, 2, 1}) {
    INFO(size << " ranks");
    const auto resumed = train_ranks(
        size, options, config, start, [&](int rank, Trainer& trainer, Trained&) -> Result<void> {
          TW_TRY(trainer.restore(rank == 0 ? saved.weights : nullptr,
                                 rank == 0 ? dir / "saved" : "/nowhere/at/all"));
          for (int i = 3; i < 5; ++i) TW_TRY(trainer.train(ranks_batch(i), 0, 0.1 * i, dir.path()));
          return trainer.save_optimizer(dir / "resumed");
        });
    REQUIRE(resumed.error == "");
    check_same_weights(resumed.weights, straight.weights, 1e-6);
    check_same_state(dir / "resumed", dir / "straight", "5", 1e-6);
  }
}

TEST_CASE("an optimizer file that rank 0 cannot read is an error on all ranks") {
  const TempDir dir;
  const ModelConfig config = testing::tiny_model();
  const WeightsPtr start = testing::random_weights(config, 3);
  std::vector<std::string> messages(2);
  train_ranks(2, ranks_options(), config, start, [&](int rank, Trainer& trainer, Trained&) {
    const auto restored = trainer.restore(start, dir / "none");
    messages[rank] = restored.ok() ? "" : restored.error().message;
    return Result<void>();
  });
  CHECK(messages[0].find((dir / "none").string()) != std::string::npos);
  CHECK(messages[1].find("rank 0 failed at the optimizer file") == 0);
}

TEST_CASE("a loss that is not finite on one rank skips the update on all, and stops all alike") {
  const TempDir dir;
  const ModelConfig config = testing::tiny_model();
  const WeightsPtr start = testing::random_weights(config, 3);
  TrainerOptions options = ranks_options();
  options.max_bad_steps = 2;
  auto bad = ranks_batch(0);
  bad[2].rollouts[0].advantages[0] = std::numeric_limits<float>::quiet_NaN();
  std::vector<std::string> messages(2);
  std::vector<uint64_t> skipped(2);
  std::vector<WeightsPtr> weights(2);
  train_ranks(2, options, config, start, [&](int rank, Trainer& trainer, Trained&) -> Result<void> {
    TW_ASSIGN(const TrainReport report, trainer.train(bad, 0, 0, dir.path()));
    skipped[rank] = report.skipped_updates;
    weights[rank] = trainer.weights(0, allocate_weights);
    TW_TRY(trainer.train(ranks_batch(1), 0, 0, dir.path()));  // a good one between
    TW_TRY(trainer.train(bad, 0, 0, dir.path()));
    const auto stopped = trainer.train(bad, 0, 0, dir / std::to_string(rank));
    messages[rank] = stopped.ok() ? "" : stopped.error().message;
    return {};
  });
  for (int rank = 0; rank < 2; ++rank) {
    CHECK(skipped[rank] == 1);
    CHECK(floats(weights[rank]->bytes()) == floats(start->bytes()));
    CHECK(messages[rank].find("2 updates in a row") == 0);
  }
  // Rank 0 alone wrote the batch, or said why not: its folder does not exist.
  CHECK(messages[0].find("its batch is lost") != std::string::npos);
  CHECK(messages[1].find("its batch is lost") == std::string::npos);
}

TEST_CASE("ranks with another model, other options or another batch are told, not trained") {
  const TempDir dir;
  const ModelConfig config = testing::tiny_model();
  std::vector<std::string> options_told(2), batch_told(2);
  run_ranks(2, [&](int rank, RankGroupResult group) {
    TrainerOptions options = ranks_options();
    options.seed += static_cast<uint64_t>(rank);
    const auto trainer = make_trainer(options, config, testing::random_weights(config, 3), *group);
    options_told[rank] = trainer.ok() ? "" : trainer.error().message;
  });
  for (const std::string& message : options_told)
    CHECK(message == "rank 1 has other options or model than rank 0");
  run_ranks(2, [&](int rank, RankGroupResult group) {
    const auto trainer =
        make_trainer(ranks_options(), config, testing::random_weights(config, 3), *group);
    if (!trainer.ok()) return;
    const auto trained = (*trainer)->train(ranks_batch(rank), 0, 0, dir.path());
    batch_told[rank] = trained.ok() ? "" : trained.error().message;
  });
  for (const std::string& message : batch_told)
    CHECK(message == "rank 1 has other samples in its batch than rank 0");
}

TEST_CASE("ranks in processes of their own train as one, and a killed one ends the other's wait") {
  const TempDir dir;
  const auto rank = [&](int rank, const std::string& what) {
    return std::vector<std::string>{TRACEWISE_RANK, std::to_string(rank), "2", dir.path().string(),
                                    what};
  };
  {
    Process zero(rank(0, "train"), dir / "zero"), one(rank(1, "train"), dir / "one");
    CHECK(zero.wait(std::chrono::seconds(60)) == 0);
    CHECK(one.wait(std::chrono::seconds(60)) == 0);
    INFO(zero.err() << one.err());
    const ModelConfig config = testing::tiny_model();
    const auto alone = train_ranks(1, ranks_options(), config, testing::random_weights(config, 3),
                                   training(5, dir / "alone"));
    check_same_state(dir / "optimizer", dir / "alone", "5", 1e-6);
  }
  for (const auto& entry : std::filesystem::directory_iterator(dir.path()))
    if (entry.path().filename().string().starts_with("key_")) std::filesystem::remove(entry);
  Process zero(rank(0, "forever"), dir / "zero"), one(rank(1, "forever"), dir / "one");
  FileRankStore store(dir.path());
  REQUIRE(store.get("trained", std::chrono::steady_clock::now() + std::chrono::seconds(30)).ok());
  one.signal(SIGKILL);
  CHECK(one.wait(std::chrono::seconds(10)) == 128 + SIGKILL);
  const auto begin = std::chrono::steady_clock::now();
  CHECK(zero.wait(std::chrono::seconds(30)) == 3);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
  CHECK(zero.err().find("rank 0 of 2 lost a peer in the ") != std::string::npos);
}
