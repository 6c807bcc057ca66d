// Speed as ratios: each benchmark measures our figure and a reference's in the same run, because
// machines differ and are noisy.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "messages/result.hpp"

namespace tracewise::bench {

struct BenchResult {
  std::string name;       // "decode"
  double value = 0;       // ours
  std::string unit;       // of value and reference_value
  std::string reference;  // what we are compared with
  double reference_value = 0;
  double ratio = 0;  // value / reference_value, or its inverse where less is better
  double goal = 0;   // ratio wanted; at least, or with `at_most` at most; 0: none
  bool at_most = false;
  double spread = 0;  // (largest - smallest) / median of the ratio's repetitions

  bool met() const { return goal == 0 || (at_most ? ratio <= goal : ratio >= goal); }
};

struct BenchOptions {
  std::filesystem::path dir;     // for the made-up model and data; emptied by nobody
  std::filesystem::path source;  // the repository: references and what installs their packages
  std::filesystem::path python;  // interpreter for the references; empty: a venv of `source`
  int threads = 1;               // of both sides
  int repetitions = 3;
};

using Benchmark = std::function<Result<std::vector<BenchResult>>(const BenchOptions&)>;

struct NamedBenchmark {
  const char* name;
  const char* what;
  Benchmark run;
};

// In the order in which they run.
const std::vector<NamedBenchmark>& benchmarks();

// Tokens/s of batched decoding (64 sequences) against transformers' generate.
Result<std::vector<BenchResult>> bench_decode(const BenchOptions& options);
// Tokens/s of a training step against the same loss in PyTorch with padding.
Result<std::vector<BenchResult>> bench_train(const BenchOptions& options);
// Seconds of probing all boundaries on the live cache against prefilling them again, and as a share
// of a training step.
Result<std::vector<BenchResult>> bench_probe(const BenchOptions& options);
// Steps/s of a run of the actors against the same parts called in a plain loop, and samples/s of an
// asynchronous run against a synchronous one.
Result<std::vector<BenchResult>> bench_actors(const BenchOptions& options);
// Seconds from the last decode step before new weights to the next one, against a decode step.
Result<std::vector<BenchResult>> bench_swap(const BenchOptions& options);
// GB/s of weights from a learner to a generator on this host, by shared memory against memcpy and
// over TLS on loopback against plain TLS sockets.
Result<std::vector<BenchResult>> bench_weights(const BenchOptions& options);
// Round trips/s, and their p50 and p99, of rollouts between actors of two processes over TLS
// against calls of a Ray actor with as many bytes.
Result<std::vector<BenchResult>> bench_messages(const BenchOptions& options);
// One head with 1,000 stub generators: the head's processor time, how long prompts take, memory.
Result<std::vector<BenchResult>> bench_scale(const BenchOptions& options);

// Tokens/s of SmolLM2 at batch 1, 8 and 32 against transformers and llama.cpp, and the seconds
// until it can decode.
Result<std::vector<BenchResult>> bench_smollm2(const BenchOptions& options);
// Samples/s and peak memory of a GRPO step of SmolLM2, from prompts to new weights, against TRL.
Result<std::vector<BenchResult>> bench_trl(const BenchOptions& options);

// Nanoseconds that a wait costs to be told of, against a mutex that is locked and unlocked.
Result<std::vector<BenchResult>> bench_waits(const BenchOptions& options);

// MB/s of text that is encoded and decoded on one thread against the tokenizers package.
Result<std::vector<BenchResult>> bench_tokenizer(const BenchOptions& options);

// The list for scripts: [{"name", "value", "unit", "reference", "reference_value", "ratio",
// "spread", "goal", "met"}], goal null where there is none.
std::string results_json(const std::vector<BenchResult>& results);

// --- for the benchmarks themselves ---------------------------------------------------------------

// When whatever a benchmark waits for has failed: two minutes from now.
std::chrono::steady_clock::time_point bench_limit();

// The nearest-rank percentile: the smallest of `x` (not empty) that a share of at least `share`,
// in (0, 1], does not exceed.
double percentile(std::vector<double> x, double share);

// Median of several ratios, with the spread and the medians of both sides.
BenchResult summarise(std::string name, std::string unit, std::string reference,
                      const std::vector<double>& ours, const std::vector<double>& theirs,
                      bool less_is_better = false);

// An interpreter with the packages of a kind of scripts/make_venv, which installs them on first
// use. kInput if that fails.
Result<std::filesystem::path> reference_python(const BenchOptions& options,
                                               const std::string& kind);

// Runs a Python script of the repository with WORDS... and the packages of `kind`, and reads the
// numbers, all above 0, of the last line that it prints.
Result<std::vector<double>> run_reference_numbers(const BenchOptions& options,
                                                  const std::vector<std::string>& words,
                                                  const std::string& kind,
                                                  const std::string& script);
// The first of them.
Result<double> run_reference(const BenchOptions& options, const std::vector<std::string>& words,
                             const std::string& kind = "reference",
                             const std::string& script = "bench/reference.py");

}  // namespace tracewise::bench
