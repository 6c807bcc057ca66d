#include "bench/bench.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <sstream>

namespace tracewise::bench {
namespace {

double median(std::vector<double> x) {
  std::sort(x.begin(), x.end());
  const size_t n = x.size();
  return n % 2 == 1 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
}

std::string quoted(const std::string& word) { return "'" + word + "'"; }

}  // namespace

const std::vector<NamedBenchmark>& benchmarks() {
  static const std::vector<NamedBenchmark> all = {
      {"decode", "batched decoding against transformers generate", bench_decode},
      {"train", "a training step against PyTorch with padding", bench_train},
      {"probe", "value probes on the live cache against prefilling again", bench_probe},
      {"actors", "a run of the actors against a plain loop", bench_actors},
      {"swap", "what new weights cost those who decode, against a decode step", bench_swap},
      {"weights", "weights between processes against memcpy and plain TLS sockets", bench_weights},
      {"messages", "messages between actors of two processes against Ray", bench_messages},
      {"tokenizer", "encoding and decoding text against the tokenizers package", bench_tokenizer},
      {"smollm2", "SmolLM2's decoding and loading against transformers and llama.cpp",
       bench_smollm2},
      {"trl", "a GRPO step of SmolLM2 against TRL's, time and memory", bench_trl},
      {"scale", "a head with 1,000 stub generators", bench_scale},
      {"waits", "what a wait costs to be told of", bench_waits},
  };
  return all;
}

std::chrono::steady_clock::time_point bench_limit() {
  return std::chrono::steady_clock::now() + std::chrono::minutes(2);
}

double percentile(std::vector<double> x, double share) {
  TW_CHECK(!x.empty() && share > 0 && share <= 1, "a share of something");
  const auto rank = static_cast<size_t>(std::ceil(share * static_cast<double>(x.size())));
  const auto at = x.begin() + static_cast<std::ptrdiff_t>(std::max<size_t>(rank, 1) - 1);
  std::nth_element(x.begin(), at, x.end());
  return *at;
}

BenchResult summarise(std::string name, std::string unit, std::string reference,
                      const std::vector<double>& ours, const std::vector<double>& theirs,
                      bool less_is_better) {
  TW_CHECK(!ours.empty() && ours.size() == theirs.size(), "one reference figure for each of ours");
  std::vector<double> ratios;
  for (size_t i = 0; i < ours.size(); ++i)
    ratios.push_back(less_is_better ? theirs[i] / ours[i] : ours[i] / theirs[i]);
  const auto [low, high] = std::minmax_element(ratios.begin(), ratios.end());
  BenchResult result;
  result.name = std::move(name);
  result.value = median(ours);
  result.unit = std::move(unit);
  result.reference = std::move(reference);
  result.reference_value = median(theirs);
  result.ratio = median(ratios);
  result.spread = (*high - *low) / result.ratio;
  return result;
}

std::string results_json(const std::vector<BenchResult>& results) {
  nlohmann::json list = nlohmann::json::array();
  for (const BenchResult& r : results) {
    list.push_back({{"name", r.name},
                    {"value", r.value},
                    {"unit", r.unit},
                    {"reference", r.reference},
                    {"reference_value", r.reference_value},
                    {"ratio", r.ratio},
                    {"spread", r.spread},
                    {"goal", r.goal == 0 ? nlohmann::json() : nlohmann::json(r.goal)},
                    {"met", r.met()}});
  }
  return list.dump(2) + "\n";
}

Result<std::filesystem::path> reference_python(const BenchOptions& options,
                                               const std::string& kind) {
  if (!options.python.empty()) return options.python;
  const std::filesystem::path venv = options.source / "build" / ("venv-" + kind);
  const std::string command = quoted((options.source / "scripts/make_venv").string()) + " " +
                              quoted(venv.string()) + " " + quoted(kind);
  if (std::system(command.c_str()) != 0)
    return bad_input("'" + command + "' failed: the packages of the reference are not there");
  return venv / "bin/python";
}

Result<std::vector<double>> run_reference_numbers(const BenchOptions& options,
                                                  const std::vector<std::string>& words,
                                                  const std::string& kind,
                                                  const std::string& script) {
  TW_ASSIGN(const std::filesystem::path python, reference_python(options, kind));
  std::string command = quoted(python.string()) + " " + quoted((options.source / script).string());
  for (const std::string& word : words) command += " " + quoted(word);
  std::FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return io_error("cannot start " + command);
  std::string text;
  std::array<char, 4096> buffer;
  while (std::fgets(buffer.data(), buffer.size(), pipe) != nullptr) text = buffer.data();
  const int status = pclose(pipe);
  std::istringstream last(text);
  std::vector<double> numbers;
  for (double number = 0; last >> number;) numbers.push_back(number);
  if (status != 0 || numbers.empty() ||
      !std::ranges::all_of(numbers, [](double number) { return number > 0; }))
    return io_error("the reference '" + command + "' failed");
  return numbers;
}

Result<double> run_reference(const BenchOptions& options, const std::vector<std::string>& words,
                             const std::string& kind, const std::string& script) {
  TW_ASSIGN(const auto numbers, run_reference_numbers(options, words, kind, script));
  return numbers.front();
}

}  // namespace tracewise::bench
