#include <chrono>

#include "bench/workload.hpp"
#include "launch/training.hpp"
#include "rollout/engine.hpp"

namespace tracewise::bench {
namespace {

constexpr uint64_t kGroups = 32, kSamples = 8;
constexpr int32_t kResponseTokens = 64, kStepTokens = 7;  // about the demo's, 9 steps a rollout

// Rollouts that hold their cache under a lease.
Result<std::vector<Rollout>> sample(Engine& engine, const Workload& workload) {
  for (uint64_t g = 0; g < kGroups; ++g) {
    GroupTask task;
    task.key.group = g;
    task.samples = kSamples;
    task.prompt = workload.prompts[g];
    task.sampling.max_new_tokens = kResponseTokens;
    engine.submit(std::move(task));
  }
  std::vector<Rollout> rollouts;
  while (rollouts.size() < kGroups * kSamples) {
    for (Rollout& rollout : engine.step(Clock::now()).rollouts) {
      if (rollout.failure.failed())
        return Error{ErrorClass::kInternal, "sampling failed: " + rollout.failure.message};
      rollouts.push_back(std::move(rollout));
    }
  }
  return rollouts;
}

// All boundaries of a rollout, after its prompt and every kStepTokens tokens: "ans " + three
// digits.
ProbeRequest request_for(const Rollout& rollout, uint64_t lease, const Tokenizer& tokenizer) {
  ProbeRequest request;
  request.key = rollout.key;
  request.sample = rollout.sample;
  request.lease = lease;
  const auto prompt = static_cast<int32_t>(rollout.prompt.tokens.size());
  for (int32_t end = 0; end < kResponseTokens; end += kStepTokens)
    request.prefix_ends.push_back(prompt + end);
  request.probe_tokens = {tokenizer.find("ans ")};
  for (const char* digit : {"1", "2", "3"}) request.target_tokens.push_back(tokenizer.find(digit));
  return request;
}

// Seconds until all of `leases` are probed at all boundaries. `apart`: with a request for each
// boundary, so that none shares its prefix with another.
Result<double> probe_all(Engine& engine, const std::vector<Rollout>& rollouts,
                         const std::vector<uint64_t>& leases, const Tokenizer& tokenizer,
                         bool apart) {
  const auto start = Clock::now();
  size_t asked = 0;
  for (size_t i = 0; i < rollouts.size(); ++i) {
    ProbeRequest all = request_for(rollouts[i], leases[i], tokenizer);
    for (const int32_t end : apart ? all.prefix_ends : std::vector<int32_t>()) {
      ProbeRequest one = all;
      one.prefix_ends = {end};
      engine.probe(std::move(one));
      ++asked;
    }
    if (apart) continue;
    engine.probe(std::move(all));
    ++asked;
  }
  for (size_t answered = 0; answered < asked;) {
    for (const ProbeResult& result : engine.step(Clock::now()).probes) {
      if (result.failure.failed())
        return Error{ErrorClass::kInternal, "a probe failed: " + result.failure.message};
      ++answered;
    }
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  for (const uint64_t lease : leases) engine.release(lease);
  return seconds;
}

Result<BenchResult> live_against_prefill(const BenchOptions& options, const Workload& workload) {
  EngineOptions engine_options;
  engine_options.threads = options.threads;
  TW_ASSIGN(const auto engine,
            make_engine(engine_options, workload.model.config, workload.model.weights, nullptr));
  std::vector<double> live, prefilled;
  for (int r = 0; r < options.repetitions; ++r) {
    TW_ASSIGN(const auto rollouts, sample(*engine, workload));
    std::vector<uint64_t> leases, adopted;
    for (const Rollout& rollout : rollouts) {
      leases.push_back(rollout.lease);
      std::vector<int32_t> tokens = rollout.prompt.tokens;
      tokens.insert(tokens.end(), rollout.tokens.begin(), rollout.tokens.end());
      adopted.push_back(engine->adopt(std::move(tokens)));
    }
    TW_ASSIGN(const double a,
              probe_all(*engine, rollouts, leases, *workload.model.tokenizer, false));
    TW_ASSIGN(const double b,
              probe_all(*engine, rollouts, adopted, *workload.model.tokenizer, true));
    live.push_back(a);
    prefilled.push_back(b);
  }
  BenchResult result = summarise("probing all boundaries", "s", "prefilling each prefix", live,
                                 prefilled, /*less_is_better=*/true);
  result.goal = 10;
  return result;
}

// Share of a step's time that the generators probe in the demo's SSPO run, with its threads and
// from its warm start.
Result<BenchResult> share_of_step(const BenchOptions& options, const Workload& workload) {
  constexpr double kSteps = 8, kGenerators = 2;
  TW_ASSIGN(const auto warm, warm_model(options, workload));
  std::vector<double> probing, all;
  for (int r = 0; r < options.repetitions; ++r) {
    std::error_code ignored;
    std::filesystem::remove_all(options.dir / "probe-run", ignored);
    TW_ASSIGN(const Config config,
              sspo_config(options, workload,
                          {"model.dir=" + warm.string(), "run.steps=8", "run.generators=2",
                           "engine.threads=1", "trainer.threads=2",
                           "run.dir=" + (options.dir / "probe-run").string()}));
    TW_ASSIGN(const RunSummary summary, start_training(config, {}, {}, nullptr));
    probing.push_back(summary.probe_seconds / kGenerators / kSteps);
    all.push_back(summary.train_seconds / kSteps);
  }
  BenchResult result = summarise("probing in a training step", "s", "the whole step", probing, all);
  result.goal = 0.08;
  result.at_most = true;
  return result;
}

}  // namespace

Result<std::vector<BenchResult>> bench_probe(const BenchOptions& options) {
  TW_ASSIGN(const Workload workload, make_workload(options));
  TW_ASSIGN(BenchResult live, live_against_prefill(options, workload));
  TW_ASSIGN(BenchResult share, share_of_step(options, workload));
  return std::vector{std::move(live), std::move(share)};
}

}  // namespace tracewise::bench
