#include "actors/event_log.hpp"

#include <catch2/catch.hpp>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/temp_dir.hpp"

namespace tracewise {
namespace {

std::vector<nlohmann::json> lines_of(const std::filesystem::path& file) {
  std::ifstream in(file);
  std::vector<nlohmann::json> lines;
  for (std::string line; std::getline(in, line);)
    lines.push_back(nlohmann::json::parse(line, nullptr, false));
  return lines;
}

}  // namespace

TEST_CASE("events are lines of JSON, and go on behind a line that a crash tore") {
  const TempDir dir;
  const auto file = dir.path() / "events.jsonl";
  {
    auto log = EventLog::open(file);
    REQUIRE(log.ok());
    (*log)->add(EventKind::kNode, "supervisor", "node gen0 is lost: \xff");
  }
  std::ofstream(file, std::ios::app) << R"({"time": 12)";
  auto log = EventLog::open(file);
  REQUIRE(log.ok());
  (*log)->add(EventKind::kStall, "monitor", "overdue: \"x\"\nbehind");
  const auto lines = lines_of(file);
  REQUIRE(lines.size() == 3);
  CHECK(lines[0]["kind"] == "node");
  CHECK(lines[0]["who"] == "supervisor");
  CHECK(lines[0]["text"] == "node gen0 is lost: \xef\xbf\xbd");
  CHECK(lines[0]["time"].get<double>() > 1.7e9);
  CHECK(lines[1].is_discarded());
  CHECK(lines[2]["text"] == "overdue: \"x\"\nbehind");
}

}  // namespace tracewise
