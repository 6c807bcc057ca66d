// What the benchmarks make of their measurements, and what scripts read.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "bench/bench.hpp"
#include "bench/messages.hpp"
#include "messages/codec.hpp"
#include "tests/process.hpp"
#include "tests/temp_dir.hpp"

using namespace tracewise;
using bench::BenchResult;

TEST_CASE("a ratio is the median of the repetitions' own, with their spread") {
  const BenchResult more = bench::summarise("a", "tokens/s", "b", {10, 30, 20}, {5, 10, 5});
  CHECK(more.value == 20);           // median of 10, 20, 30
  CHECK(more.reference_value == 5);  // of 5, 5, 10
  CHECK(more.ratio == 3);            // of 2, 3, 4
  CHECK(more.spread == Approx(2.0 / 3));
  const BenchResult less = bench::summarise("a", "s", "b", {2, 1}, {10, 20}, true);
  CHECK(less.ratio == 12.5);  // of 5 and 20
}

TEST_CASE("a goal is a floor, or a ceiling where less is wanted") {
  BenchResult result;
  result.ratio = 5, result.goal = 5;
  CHECK(result.met());
  result.ratio = 4.9;
  CHECK_FALSE(result.met());
  result.at_most = true;
  CHECK(result.met());
}

TEST_CASE("a result without a goal misses none, and scripts read null for it") {
  BenchResult result;
  result.ratio = 0.1;
  CHECK(result.met());
  result.at_most = true;
  CHECK(result.met());
  CHECK(nlohmann::json::parse(bench::results_json({result}))[0]["goal"].is_null());
}

TEST_CASE("a percentile is the smallest figure that its share does not exceed") {
  std::vector<double> figures;  // 100, 99 .. 1
  for (int i = 100; i >= 1; --i) figures.push_back(i);
  CHECK(bench::percentile(figures, 0.5) == 50);
  CHECK(bench::percentile(figures, 0.99) == 99);
  CHECK(bench::percentile(figures, 0.991) == 100);
  CHECK(bench::percentile(figures, 1) == 100);
  CHECK(bench::percentile({7}, 0.001) == 7);
  CHECK(bench::percentile({3, 1, 2}, 0.5) == 2);  // rank 1.5, rounded up
}

TEST_CASE("the rollouts that are measured have the bytes that they are called by") {
  for (const size_t bytes : {size_t{1'000}, size_t{64'000}}) {
    const Rollout rollout = bench::rollout_of(bytes);
    const std::string message = encode(rollout).value();
    CHECK(message.size() <= bytes);
    CHECK(message.size() + 16 >= bytes);
    Rollout read;
    REQUIRE(decode(message, read).ok());
    CHECK(read == rollout);
  }
}

TEST_CASE("Ray's figures are read, and anything else that it prints is refused") {
  const auto read = bench::exchange_from_line(
      R"({"per_second": 1100.5, "p50_us": 700, "p99_us": 1650.25, "way": "plain, get"})");
  REQUIRE(read.ok());
  CHECK(read->per_second == 1100.5);
  CHECK(read->p50_us == 700);
  CHECK(read->p99_us == 1650.25);
  CHECK(read->way == "plain, get");
  for (const char* wrong :
       {"", "{}", "[]", "7", "Traceback", R"({"per_second": 1, "p50_us": 1, "p99_us": 1})",
        R"({"per_second": 0, "p50_us": 1, "p99_us": 1, "way": ""})",
        R"({"per_second": 1, "p50_us": "1", "p99_us": 1, "way": ""})"}) {
    INFO(wrong);
    CHECK(bench::exchange_from_line(wrong).error().error_class == ErrorClass::kCorrupt);
  }
}

TEST_CASE("an interpreter without Ray is refused with what it said last") {
  const TempDir dir;
  const auto python = dir.put("python", "#!/bin/sh\necho \"No module named 'ray'\" >&2\nexit 1\n");
  std::filesystem::permissions(python, std::filesystem::perms::owner_all);
  const Finished run = run_tracewise({"bench", "messages", "--python", python.string()});
  CHECK(run.exit_code == 2);
  CHECK(run.err == "tracewise: the process 'Ray' ended: No module named 'ray'\n");
}

TEST_CASE("the results' JSON has the contract's keys") {
  BenchResult result;
  result.name = "decode", result.unit = "tokens/s", result.reference = "transformers";
  result.value = 20, result.reference_value = 4, result.ratio = 5, result.goal = 10;
  const auto json = nlohmann::json::parse(bench::results_json({result}));
  REQUIRE(json.size() == 1);
  CHECK(json[0]["name"] == "decode");
  CHECK(json[0]["value"] == 20);
  CHECK(json[0]["unit"] == "tokens/s");
  CHECK(json[0]["reference"] == "transformers");
  CHECK(json[0]["reference_value"] == 4);
  CHECK(json[0]["ratio"] == 5);
  CHECK(json[0]["goal"] == 10);
  CHECK(json[0]["met"] == false);
}

TEST_CASE("bench refuses wrong words with exit code 2 before it measures anything") {
  for (const auto& words : std::vector<std::vector<std::string>>{
           {"bench", "decoding"},
           {"bench", "probe", "--repetitions", "0"},
           {"bench", "probe", "--json", "/nowhere/at/all.json"}}) {
    const Finished run = run_tracewise(words);
    INFO(words.back());
    CHECK(run.exit_code == 2);
    CHECK(run.out.empty());
    CHECK_FALSE(run.err.empty());
  }
}
