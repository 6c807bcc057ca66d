#include <chrono>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "bench/smollm2.hpp"
#include "launch/parts.hpp"
#include "model/file_io.hpp"
#include "rollout/engine.hpp"

namespace tracewise::bench {
namespace {

constexpr int kTokensInAll = 512;  // sampled by all sequences of a batch together
constexpr int kBatches[] = {1, 8, 32};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// An engine without stop tokens, and the prompts as its tokens.
struct Decoding {
  std::unique_ptr<Engine> engine;
  std::vector<std::vector<int32_t>> prompts;
  uint64_t next_group = 0;

  // Tokens/s of `batch` sequences that sample kTokensInAll tokens, prompts included in the time.
  Result<double> run(int batch) {
    const auto start = Clock::now();
    for (int i = 0; i < batch; ++i) {
      GroupTask task;
      task.key.group = next_group++;
      task.prompt.tokens = prompts[static_cast<size_t>(i)];
      task.sampling.max_new_tokens = kTokensInAll / batch;
      engine->submit(std::move(task));
    }
    uint64_t tokens = 0;
    for (int finished = 0; finished < batch;) {
      for (const Rollout& rollout : engine->step(Clock::now()).rollouts) {
        if (rollout.failure.failed())
          return Error{ErrorClass::kInternal, "decoding failed: " + rollout.failure.message};
        engine->release(rollout.lease);
        tokens += rollout.tokens.size();
        ++finished;
      }
    }
    return static_cast<double>(tokens) / seconds_since(start);
  }
};

Result<Decoding> make_decoding(const RealWorkload& workload, ModelDtype dtype, int threads) {
  TW_ASSIGN(const ModelFolder model, load_model(workload.model, dtype));
  EngineOptions options;
  options.threads = threads;
  options.max_sequences = kBatches[2];
  Decoding decoding;
  for (const std::string& prompt : workload.prompts) {
    TW_ASSIGN(decoding.prompts.emplace_back(), model.tokenizer->encode(prompt, false));
  }
  TW_ASSIGN(decoding.engine, make_engine(options, model.config, model.weights, nullptr));
  return decoding;
}

// Ours and theirs, in each repetition one after the other.
struct Pairs {
  std::vector<double> ours, theirs;
};

Result<Pairs> compare_decoding(const BenchOptions& options, const RealWorkload& workload,
                               Decoding& decoding, int batch,
                               const std::vector<std::string>& dtypes) {
  Pairs pairs;
  TW_TRY(decoding.run(batch));  // warm-up
  for (int r = 0; r < options.repetitions; ++r) {
    TW_ASSIGN(pairs.ours.emplace_back(), decoding.run(batch));
    double best = 0;
    for (const std::string& dtype : dtypes) {
      TW_ASSIGN(const double speed,
                run_reference(
                    options,
                    {"decode", workload.model, workload.prompts_file, std::to_string(batch),
                     std::to_string(kTokensInAll / batch), std::to_string(options.threads), dtype},
                    "reference", "bench/reference_smollm2.py"));
      best = std::max(best, speed);
    }
    pairs.theirs.push_back(best);
  }
  return pairs;
}

Result<Pairs> compare_llama(const BenchOptions& options, const RealWorkload& workload,
                            Decoding& decoding, int batch) {
  Pairs pairs;
  for (int r = 0; r < options.repetitions; ++r) {
    TW_ASSIGN(pairs.ours.emplace_back(), decoding.run(batch));
    TW_ASSIGN(pairs.theirs.emplace_back(),
              run_reference(options,
                            {workload.source_gguf, options.dir / "smollm2.bf16.gguf",
                             workload.prompts_file, std::to_string(batch),
                             std::to_string(kTokensInAll / batch), std::to_string(options.threads)},
                            "llama-cpp", "bench/reference_llama.py"));
  }
  return pairs;
}

Result<double> load_once(const RealWorkload& workload, int threads) {
  const auto start = Clock::now();
  TW_TRY(make_decoding(workload, ModelDtype::kBfloat16, threads));
  return seconds_since(start);
}

Result<BenchResult> bench_load(const BenchOptions& options, const RealWorkload& workload) {
  Pairs pairs;
  TW_TRY(load_once(workload, options.threads));
  for (int r = 0; r < options.repetitions; ++r) {
    TW_ASSIGN(pairs.ours.emplace_back(), load_once(workload, options.threads));
    TW_ASSIGN(pairs.theirs.emplace_back(),
              run_reference(options,
                            {"load", workload.model, std::to_string(options.threads), "bfloat16"},
                            "reference", "bench/reference_smollm2.py"));
  }
  return summarise("SmolLM2, folder to engine", "s", "transformers from_pretrained, bf16",
                   pairs.ours, pairs.theirs, /*less_is_better=*/true);
}

// The file that scripts/get_smollm2 made the folder from, in its package.
Result<std::filesystem::path> find_gguf(const BenchOptions& options) {
  TW_ASSIGN(const std::filesystem::path python, reference_python(options, "smollm2"));
  const std::filesystem::path venv = python.parent_path().parent_path();
  for (const auto& entry : std::filesystem::recursive_directory_iterator(venv / "lib"))
    if (entry.path().extension() == ".gguf") return entry.path();
  return io_error("no .gguf file under " + (venv / "lib").string());
}

// Runs a script of the repository that makes something in build/.
Result<void> make_with(const std::string& command) {
  if (std::system(command.c_str()) != 0) return io_error("'" + command + "' failed");
  return {};
}

}  // namespace

Result<RealWorkload> make_real_workload(const BenchOptions& options) {
  RealWorkload workload;
  workload.model = options.source / "build" / "smollm2";
  TW_TRY(make_with("'" + (options.source / "scripts/get_smollm2").string() + "' '" +
                   workload.model.string() + "'"));
  workload.prompts_file = options.dir / "smollm2_prompts.jsonl";
  std::string lines;
  for (int i = 0; i < kBatches[2]; ++i) {
    workload.prompts.push_back("What is " + std::to_string(i * 37 % 91) + " + " +
                               std::to_string(i * 53 % 89) + " - " + std::to_string(i * 11 % 17) +
                               "? Explain each step briefly.");
    lines += nlohmann::json{{"prompt", workload.prompts.back()}, {"answer", "0"}}.dump() + "\n";
  }
  std::filesystem::create_directories(options.dir);
  TW_TRY(write_file(workload.prompts_file, lines));
  return workload;
}

Result<std::vector<BenchResult>> bench_smollm2(const BenchOptions& options) {
  TW_ASSIGN(RealWorkload workload, make_real_workload(options));
  TW_ASSIGN(workload.source_gguf, find_gguf(options));
  std::vector<BenchResult> results;
  TW_ASSIGN(Decoding narrow, make_decoding(workload, ModelDtype::kBfloat16, options.threads));
  TW_ASSIGN(Decoding wide, make_decoding(workload, ModelDtype::kFloat32, options.threads));
  for (const int batch : kBatches) {
    const std::string name = "SmolLM2, batch " + std::to_string(batch);
    TW_ASSIGN(const Pairs best,
              compare_decoding(options, workload, narrow, batch, {"bfloat16", "float32"}));
    results.push_back(summarise(name + ", bf16", "tokens/s", "transformers, its faster dtype",
                                best.ours, best.theirs));
    results.back().goal = batch == 1 ? 1.5 : batch == 32 ? 2 : 0;
    TW_ASSIGN(const Pairs same, compare_decoding(options, workload, wide, batch, {"float32"}));
    results.push_back(
        summarise(name + ", fp32", "tokens/s", "transformers, fp32", same.ours, same.theirs));
    TW_ASSIGN(const Pairs llama, compare_llama(options, workload, narrow, batch));
    results.push_back(
        summarise(name + ", bf16", "tokens/s", "llama.cpp, bf16", llama.ours, llama.theirs));
  }
  TW_ASSIGN(results.emplace_back(), bench_load(options, workload));
  return results;
}

}  // namespace tracewise::bench
