#include <chrono>

#include "bench/workload.hpp"
#include "rollout/engine.hpp"

namespace tracewise::bench {
namespace {

constexpr int kBatch = 64;
constexpr int kNewTokens = 100;

// Tokens/s of kBatch sequences of kNewTokens tokens each, prompts included in the time.
Result<double> decode_once(Engine& engine, const Workload& workload, uint64_t round) {
  const auto start = Clock::now();
  for (uint64_t i = 0; i < kBatch; ++i) {
    GroupTask task;
    task.key.group = round * kBatch + i;
    task.prompt = workload.prompts[i];
    task.sampling.max_new_tokens = kNewTokens;
    engine.submit(std::move(task));
  }
  uint64_t tokens = 0;
  for (int finished = 0; finished < kBatch;) {
    for (const Rollout& rollout : engine.step(Clock::now()).rollouts) {
      if (rollout.failure.failed())
        return Error{ErrorClass::kInternal, "decoding failed: " + rollout.failure.message};
      engine.release(rollout.lease);
      tokens += rollout.tokens.size();
      ++finished;
    }
  }
  return static_cast<double>(tokens) / std::chrono::duration<double>(Clock::now() - start).count();
}

}  // namespace

Result<std::vector<BenchResult>> bench_decode(const BenchOptions& options) {
  TW_ASSIGN(const Workload workload, make_workload(options));
  EngineOptions engine_options;
  engine_options.threads = options.threads;
  engine_options.max_sequences = kBatch;  // no stop tokens: every response has kNewTokens
  TW_ASSIGN(const auto engine,
            make_engine(engine_options, workload.model.config, workload.model.weights, nullptr));
  std::vector<double> ours, theirs;
  TW_TRY(decode_once(*engine, workload, 0));  // warm-up
  for (int r = 0; r < options.repetitions; ++r) {
    double best = 0;
    for (uint64_t i = 1; i <= 2; ++i) {  // the better of two, as the reference does it
      TW_ASSIGN(const double speed, decode_once(*engine, workload, i));
      best = std::max(best, speed);
    }
    ours.push_back(best);
    TW_ASSIGN(const double reference,
              run_reference(options, {"decode", workload.files.model, workload.files.prompts,
                                      std::to_string(kBatch), std::to_string(kNewTokens),
                                      std::to_string(options.threads)}));
    theirs.push_back(reference);
  }
  BenchResult result =
      summarise("decode, batch 64", "tokens/s", "transformers generate", ours, theirs);
  result.goal = 5;
  return std::vector{result};
}

}  // namespace tracewise::bench
