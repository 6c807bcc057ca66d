// The demo, shortened: SSPO must learn, through the real actors, in 20 s of training.
#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "tests/process.hpp"
#include "tests/temp_dir.hpp"

using namespace tracewise;

TEST_CASE("20 s of SSPO make the demo's model more accurate by a tenth") {
  const TempDir dir;
  Process demo({TRACEWISE_BINARY, "demo", "--quick", "--method", "sspo", "--warm-start-steps",
                "1400", "--budget", "20", "--out", dir / "demo", "--json", dir / "result.json"},
               dir / "log");
  REQUIRE(demo.wait() == 0);
  INFO(demo.out());
  const auto result = nlohmann::json::parse(std::ifstream(dir / "result.json"));
  const double before = result["sft"]["accuracy"], after = result["sspo"]["accuracy"];
  CHECK(after > before + 0.10);
  CHECK(result["sspo"]["train_steps"].get<int>() >= 5);
  CHECK(result["sspo"]["probe_share"].get<double>() > 0);
  CHECK(std::filesystem::file_size(dir / "demo/report.html") > 5000);
}

TEST_CASE("a demo that shows nothing ends with exit code 3, and can be started again") {
  const TempDir dir;
  const std::vector<std::string> words = {TRACEWISE_BINARY, "demo", "--method", "sspo",
                                          "--budget",       "0.5",  "--out",    dir / "demo"};
  auto first = words;
  first.insert(first.end(), {"--warm-start-steps", "3", "--json", dir / "result.json"});
  auto second = words;
  second.insert(second.end(), {"--start", dir / "demo/start"});
  for (const auto& demo_words : {first, second}) {
    Process demo(demo_words, dir / "log");
    CHECK(demo.wait() == 3);
    INFO(demo.out() << demo.err());
    CHECK(demo.out().find("NOT shown: SSPO learns") != std::string::npos);
  }
  const auto result = nlohmann::json::parse(std::ifstream(dir / "result.json"));
  CHECK(result["sft"]["train_steps"] == 3);
  CHECK(result["sft"]["samples_per_s"].get<double>() > 0);
}

TEST_CASE("a demo's wrong words are refused before anything is made") {
  const TempDir dir;
  for (const auto& [option, value] : std::vector<std::pair<std::string, std::string>>{
           {"--method", "ssop"}, {"--set", "advantage.bta=3"}, {"--task", "jumps"}}) {
    Process demo({TRACEWISE_BINARY, "demo", "--out", dir / "demo", option, value}, dir / "log");
    INFO(option << " " << value);
    CHECK(demo.wait() == 2);
    CHECK_FALSE(std::filesystem::exists(dir / "demo"));
  }
}
