// What the benchmarks make of their measurements, and what scripts read.
#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "bench/bench.hpp"
#include "tests/process.hpp"

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
