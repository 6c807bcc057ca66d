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
