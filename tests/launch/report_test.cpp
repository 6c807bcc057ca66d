#include <catch2/catch.hpp>

#include "actors/run_folder.hpp"
#include "actors/run_store.hpp"
#include "launch/report/report.hpp"
#include "launch/report/run_report.hpp"
#include "launch/report/svg_chart.hpp"
#include "tests/launch/tiny_demo.hpp"

using namespace tracewise;

TEST_CASE("the page escapes text and needs no network") {
  Report report;
  report.title = "a <b> & \"c\"";
  report.paragraphs = {"1 < 2"};
  report.table = {{"method"}, {{"<script>"}}, "note"};
  report.runs = {{"GRPO", {{0, 0.3, 50}, {10, 0.8, 60}}}};
  report.rollouts = {{"before", "3+8=\n", "1", 1.0, {{"3+8=1\n", 0.2, 0.9}, {"ans 1", 0.9, 1.0}}}};
  const std::string html = report_html(report);
  CHECK(html.find("a &lt;b&gt; &amp; &quot;c&quot;") != std::string::npos);
  CHECK(html.find("<script>") == std::string::npos);
  CHECK(html.find("1 &lt; 2") != std::string::npos);
  for (const char* outside : {"http://", "https://", "src=", "@import", "url("})
    CHECK(html.find(outside) == std::string::npos);
  CHECK(html.find("0.90") != std::string::npos);   // V after the first step
  CHECK(html.find("+0.70") != std::string::npos);  // what it gained
  CHECK(html == report_html(report));
}

TEST_CASE("a chart puts its points where its axes say") {
  // x from 0 to 10 over [52, 508], y from 0 to 1 over [256, 34].
  const std::string svg = chart_svg({"t", "x", "y", {{"a", {{0, 0}, {10, 1}, {5, 0.5}}}}, true});
  CHECK(svg.find("points=\"52.0,256.0 508.0,34.0 280.0,145.0 \"") != std::string::npos);
  CHECK(svg.find("<title>a: 0.5 at 5</title>") != std::string::npos);
}

TEST_CASE("values are coloured from red over yellow to green") {
  CHECK(value_colour(0) == "hsl(0 70% 45%)");
  CHECK(value_colour(0.5) == "hsl(65 70% 45%)");
  CHECK(value_colour(1) == "hsl(130 70% 45%)");
  CHECK(value_colour(7) == "hsl(130 70% 45%)");
}

TEST_CASE("a value that was not probed is a dash, not a zero") {
  Report report;
  report.rollouts = {{"GRPO", "3+8=\n", "1", 0.0, {{"3+8=2\n", {}, {}}, {"ans 2", {}, 0.0}}}};
  const std::string html = report_html(report);
  CHECK(html.find("<span>\u2013</span><span>\u2013</span>") != std::string::npos);
  CHECK(html.find("<span>0.00</span><span>\u2013</span>") != std::string::npos);
}

TEST_CASE("a run's report has its name, its curve, its last figures and its rollouts") {
  const testing::TinyDemo demo;
  const auto root = demo.dir / "first";
  {
    const auto folder = testing::must(
        RunFolder::create(root, config_toml(demo.config({"run.dir=" + root.string()}), true)));
    const auto db = testing::must(Database::open(folder->database(), Database::Mode::kReadWrite));
    const auto store = testing::must(RunStore::open(db.get(), Database::Mode::kReadWrite));
    for (uint64_t step : {1, 2}) {
      const double x = static_cast<double>(step);
      const std::vector<Metric> metrics = {{"train/accuracy", x / 4},
                                           {"train/response_tokens", 50 * x},
                                           {"time/train_seconds", 10 * x}};
      REQUIRE(store->put_metrics(step, metrics).ok());
    }
    LoggedRollout logged{2, {}, {1.0f}};
    logged.traced.rollout.prompt.tokens = *demo.model.tokenizer->encode("3+8=\n", true);
    logged.traced.rollout.tokens = *demo.model.tokenizer->encode("ans 1", false);
    logged.traced.rollout.logprobs = logged.traced.rollout.policy_logprobs = {-1, -1};
    logged.traced.rollout.versions = {1, 1};
    logged.traced.rollout.group_samples = 1;
    logged.traced.step_ends = {2};
    logged.traced.values = {0.25f};
    logged.traced.reward = 1;
    REQUIRE(store->put_rollout(logged).ok());
  }
  const std::vector<std::filesystem::path> runs = {root / ""};  // as a shell completes it
  const Report report = testing::must(report_runs(runs));
  CHECK(report.title == "tracewise run first");
  REQUIRE(report.table.rows.size() == 1);
  CHECK(report.table.rows[0][0] == "first");
  CHECK(report.table.rows[0][1] == "2");
  CHECK(report.table.rows[0][4] == "0.5");
  REQUIRE(report.runs.size() == 1);
  REQUIRE(report.runs[0].curve.size() == 2);
  CHECK(report.runs[0].curve[1].seconds == 20);
  CHECK(report.runs[0].curve[1].tokens == 100);
  REQUIRE(report.rollouts.size() == 1);
  CHECK(report.rollouts[0].title == "first, step 2");
  REQUIRE(report.rollouts[0].steps.size() == 1);
  CHECK(report.rollouts[0].steps[0].value_before == 0.25);
  CHECK(report.rollouts[0].steps[0].value_after == 1.0);

  {  // Several sets have a row each.
    const auto db = testing::must(Database::open(root / "run.db", Database::Mode::kReadWrite));
    const auto store = testing::must(RunStore::open(db.get(), Database::Mode::kReadWrite));
    const std::vector<Metric> one = {{"eval/accuracy", 0.5}, {"eval/math/accuracy", 0.5}};
    REQUIRE(store->put_metrics(1, one).ok());
    CHECK(testing::must(report_runs(runs)).table.rows.size() == 1);
    const std::vector<Metric> two = {{"eval/accuracy", 0.5},
                                     {"eval/math/accuracy", 0.75},
                                     {"eval/math/response_tokens", 12},
                                     {"eval/quiz/accuracy", 0.25},
                                     {"eval/quiz/response_tokens", 8}};
    REQUIRE(store->put_metrics(2, two).ok());
    const Report with_sets = testing::must(report_runs(runs));
    REQUIRE(with_sets.table.rows.size() == 3);
    CHECK(with_sets.table.rows[0][2] == "0.5");
    CHECK(with_sets.table.rows[1] ==
          std::vector<std::string>{"first, math", "2", "0.75", "12", "-", "-", "-", "-"});
    CHECK(with_sets.table.rows[2][0] == "first, quiz");
    CHECK(with_sets.table.rows[2][2] == "0.25");
  }

  std::filesystem::remove_all(demo.model_dir());  // where it was started from
  std::filesystem::create_directories(root / "checkpoints/step-2");
  CHECK_FALSE(report_runs(runs).ok());
  REQUIRE(save_model_folder(root / "checkpoints/step-2/model", demo.model.config,
                            *demo.model.tokenizer, *demo.model.weights)
              .ok());
  CHECK(report_runs(runs).ok());

  const std::vector<std::filesystem::path> none = {demo.dir / "none"};
  const auto refused = report_runs(none);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message.find("is no run folder") != std::string::npos);
}
