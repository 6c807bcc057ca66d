#include <algorithm>
#include <vector>

#include "actors/weights_fetcher.hpp"
#include "bench/bench.hpp"
#include "bench/weights_exchange.hpp"
#include "model/init.hpp"
#include "rollout/engine.hpp"

namespace tracewise::bench {
namespace {

constexpr int kConnections = 2;
constexpr int32_t kPromptTokens = 16, kNewTokens = 200;

// A model whose weights are measured, and how much is decoded.
struct Size {
  const char* name;
  int64_t width, layers, heads;
  int sequences;
  int swaps;  // of a repetition
};
constexpr Size kSizes[] = {{"1 MB", 96, 2, 4, 64, 20}, {"0.27 GB", 768, 8, 12, 16, 4}};

ModelConfig model_of(const Size& size) {
  ModelConfig config;
  config.vocab_size = 260;
  config.width = size.width;
  config.layers = size.layers;
  config.heads = config.kv_heads = size.heads;
  config.head_dim = size.width / size.heads;
  config.mlp_width = 4 * size.width;
  config.max_context = kPromptTokens + kNewTokens;
  return config;
}

double seconds_of(Clock::duration time) { return std::chrono::duration<double>(time).count(); }

// Seconds, of a repetition.
struct Times {
  std::vector<double> pauses;
  std::vector<double> steps;           // while no weights come
  std::vector<double> fetching_steps;  // while some do
};

// Decodes without an end while a learner's node publishes version after version over TLS.
class Decoding {
 public:
  static Result<std::unique_ptr<Decoding>> make(const BenchOptions& options, const Size& size,
                                                const Nodes& nodes) {
    EngineOptions engine_options;
    engine_options.threads = options.threads;
    engine_options.max_sequences = size.sequences;
    const ModelConfig config = model_of(size);
    const WeightsPtr weights = initial_weights(config, 1);
    TW_ASSIGN(auto engine, make_engine(engine_options, config, weights, nullptr));
    TW_ASSIGN(WeightsExchange exchange, make_weights_exchange(nodes, false, kConnections));
    return std::unique_ptr<Decoding>(
        new Decoding(size, std::move(engine), weights, std::move(exchange)));
  }

  Result<Times> run() {
    for (int i = 0; i < size_.swaps; ++i) {
      for (int k = 0; k < kQuietSteps; ++k) TW_TRY(step(times_.steps));
      TW_TRY(swap());
    }
    return std::exchange(times_, {});
  }

 private:
  static constexpr int kQuietSteps = 12;

  Decoding(const Size& size, std::unique_ptr<Engine> engine, WeightsPtr weights,
           WeightsExchange exchange)
      : size_(size),
        engine_(std::move(engine)),
        weights_(std::move(weights)),
        exchange_(std::move(exchange)),
        fetcher_(
            "weights fetcher", exchange_.receiver,
            [this](const WeightsBuffer& buffer) {
              return engine_->prepare(
                  std::make_shared<const Weights>(buffer.manifest, buffer.bytes));
            },
            [] {}) {}

  Result<void> step(std::vector<double>& times) {
    for (; under_way_ < size_.sequences; ++under_way_) {
      GroupTask task;
      task.key.group = next_group_++;
      task.prompt.tokens.assign(kPromptTokens, 7);
      task.sampling.max_new_tokens = kNewTokens;
      engine_->submit(std::move(task));
    }
    const auto begun = Clock::now();
    const EngineOutput out = engine_->step(begun);
    times.push_back(seconds_of(Clock::now() - begun));
    for (const Rollout& rollout : out.rollouts) {
      if (rollout.failure.failed())
        return Error{ErrorClass::kInternal, "decoding failed: " + rollout.failure.message};
      engine_->release(rollout.lease);
      --under_way_;
    }
    return {};
  }

  // The next version, from its being published to the first step on it.
  Result<void> swap() {
    WeightsBuffer next{weights_->manifest(), weights_->storage()};
    next.manifest.version = ++version_;
    next.manifest.checksum = weights_checksum(weights_->bytes());
    WeightsReady ready{next.manifest, {}, {}};
    TW_ASSIGN(ready.place, exchange_.sender->publish(std::move(next), bench_limit()));
    fetcher_.want(ready, bench_limit());
    std::optional<FetchEnd> end;
    std::vector<double> others;  // steps that share the cores with a fetch
    while (!(end = fetcher_.take())) TW_TRY(step(others));
    if (!end->weights.ok()) return end->weights.error();
    WeightsBuffer& got = end->weights->buffer;
    const uint64_t before = engine_->stats().swaps;
    TW_TRY(engine_->set_weights(std::make_shared<const Weights>(got.manifest, got.bytes)));
    while (engine_->stats().swaps == before) TW_TRY(step(others));
    times_.pauses.push_back(engine_->stats().swap_pause_seconds);
    return {};
  }

  const Size size_;
  std::unique_ptr<Engine> engine_;
  const WeightsPtr weights_;
  WeightsExchange exchange_;
  WeightsFetcher fetcher_;
  Times times_;
  int under_way_ = 0;
  uint64_t next_group_ = 0;
  uint64_t version_ = 0;
};

// The longest pause of a repetition, and its typical step.
Result<BenchResult> measure(const BenchOptions& options, const Size& size) {
  TW_ASSIGN(const Nodes nodes, make_nodes());
  TW_ASSIGN(const auto decoding, Decoding::make(options, size, nodes));
  std::vector<double> pauses, steps;
  for (int r = -1; r < options.repetitions; ++r) {  // the first makes the buffers
    TW_ASSIGN(const Times times, decoding->run());
    if (r < 0) continue;
    pauses.push_back(1e3 * *std::max_element(times.pauses.begin(), times.pauses.end()));
    steps.push_back(1e3 * percentile(times.steps, 0.5));
  }
  BenchResult result = summarise(std::string("longest pause at a swap, ") + size.name, "ms",
                                 "a decode step", pauses, steps);
  result.goal = 1;
  result.at_most = true;
  return result;
}

}  // namespace

Result<std::vector<BenchResult>> bench_swap(const BenchOptions& options) {
  std::vector<BenchResult> results;
  for (const Size& size : kSizes) {
    TW_ASSIGN(BenchResult result, measure(options, size));
    results.push_back(std::move(result));
  }
  return results;
}

}  // namespace tracewise::bench
