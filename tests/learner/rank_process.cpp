// One rank of a learner as a process: rank_process RANK SIZE DIR train|forever|measure
// BUCKET_BYTES.
//
// The ranks meet in DIR. train: 5 updates, and the optimizer into DIR/optimizer. forever: trains
// until an error, which goes to standard error; exit code 3. measure: prints what an update of a
// model of 30 MB takes, and how much of it is spent waiting for the other ranks.
#include <chrono>
#include <iostream>
#include <limits>

#include "model/init.hpp"
#include "tests/learner/rank_stores.hpp"
#include "tests/learner/rank_training.hpp"

using namespace tracewise;

namespace {

int failed(const Error& error) {
  std::cerr << error.message << std::endl;
  return 3;
}

int train(const std::shared_ptr<RankGroup>& group, const std::filesystem::path& dir, int batches) {
  const ModelConfig config = testing::tiny_model();
  const auto trainer =
      make_trainer(ranks_options(), config, testing::random_weights(config, 3), group);
  if (!trainer.ok()) return failed(trainer.error());
  FileRankStore store(dir);
  for (int i = 0; i < batches; ++i) {
    const auto report = (*trainer)->train(ranks_batch(i % 100), 0, 0.1 * i, dir);
    if (!report.ok()) return failed(report.error());
    if (i == 4 && group->rank() == 0) (void)store.set("trained", "5 updates");
  }
  const auto saved = (*trainer)->save_optimizer(dir / "optimizer");
  return saved.ok() ? 0 : failed(saved.error());
}

// Rollouts of 96 tokens, an update's share of a rank in two passes.
std::vector<SampleGroup> measured_batch() {
  SplitMix random(1);
  std::vector<SampleGroup> groups(16);
  for (SampleGroup& group : groups) {
    AdvantageRollout r;
    r.prompt_tokens = 16;
    for (int i = 0; i < 96; ++i) r.tokens.push_back(static_cast<int32_t>(random.below(29)));
    r.logprobs.assign(80, -3.3f);
    r.versions.assign(80, 0);
    r.advantages.assign(80, 1.0f);
    group.rollouts.push_back(r);
  }
  return groups;
}

int measure(const std::shared_ptr<RankGroup>& group, int64_t bucket_bytes) {
  ModelConfig config = testing::tiny_model();
  config.width = 384;
  config.layers = 4;
  config.heads = config.kv_heads = 6;
  config.head_dim = 64;
  config.mlp_width = 1152;
  TrainerOptions options = ranks_options();
  options.micro_batch_tokens = 400;
  options.bucket_bytes = bucket_bytes;
  const auto trainer = make_trainer(options, config, initial_weights(config, 1), group);
  if (!trainer.ok()) return failed(trainer.error());
  const auto batch = measured_batch();
  double best = std::numeric_limits<double>::infinity(), waited = 0;
  for (int i = 0; i < 12; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const auto report = (*trainer)->train(batch, 0, 0, ".");
    if (!report.ok()) return failed(report.error());
    const auto seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin);
    if (seconds.count() > best) continue;
    best = seconds.count();
    for (const Metric& m : report->metrics)
      if (m.name == "train/exchange_seconds") waited = m.value;
  }
  std::cout << "rank " << group->rank() << ": "
            << (*trainer)->weights(0, allocate_weights)->bytes().size() / 1e6
            << " MB in buckets of " << static_cast<double>(bucket_bytes) / 1e6
            << " MB: best update " << best * 1e3 << " ms, of which " << waited * 1e3
            << " ms waiting for ranks\n";
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 5) return failed(bad_input("rank_process RANK SIZE DIR train|forever|measure"));
  RankGroupOptions options;
  options.rank = std::stoi(argv[1]);
  options.size = std::stoi(argv[2]);
  const std::filesystem::path dir = argv[3];
  const std::string what = argv[4];
  const auto group = RankGroup::connect(options, std::make_shared<FileRankStore>(dir));
  if (!group.ok()) return failed(group.error());
  if (what == "measure" && argc == 6) return measure(*group, std::stoll(argv[5]));
  return train(*group, dir, what == "forever" ? std::numeric_limits<int>::max() : 5);
}
