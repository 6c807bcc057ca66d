#include "launch/rollouts_file.hpp"

#include <catch2/catch.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "launch/evaluate.hpp"
#include "launch/report/run_report.hpp"
#include "model/file_io.hpp"
#include "tests/launch/tiny_demo.hpp"
#include "tests/process.hpp"

namespace tracewise {
namespace {

using namespace testing;
using nlohmann::json;

// "3+8=1\n" "ans 1<eos>" to the set's prompt `index`, with V = .25, .75.
TracedRollout two_steps(const TinyDemo& demo, const std::string& set, uint64_t index,
                        uint32_t sample, float reward) {
  TracedRollout t;
  t.rollout.key = {first_eval_group(set) + index, 0};
  t.rollout.sample = sample;
  t.rollout.group_samples = 2;
  t.rollout.prompt = prompt_of(demo.model, "3+8=\n", "1");
  t.rollout.prompt.id = "p" + std::to_string(index);
  t.rollout.tokens = must(demo.model.tokenizer->encode("3+8=1\nans 1", false));
  t.rollout.tokens.push_back(2);
  t.step_ends = {6, static_cast<int32_t>(t.rollout.tokens.size())};
  t.values = {0.25f, 0.75f};
  t.reward = reward;
  return t;
}

EvalResult result_of(const std::vector<std::string>& sets) {
  EvalResult result;
  result.step = 7;
  for (const std::string& name : sets) result.sets.emplace_back().name = name;
  return result;
}

std::vector<json> lines_of(const std::filesystem::path& file) {
  std::vector<json> lines;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

}  // namespace

TEST_CASE("a file of rollouts has what was sampled, measured and probed, and why some failed") {
  const TinyDemo demo;
  std::vector<TracedRollout> rollouts = {two_steps(demo, "quiz", 0, 0, 1),
                                         two_steps(demo, "quiz", 0, 1, 0)};
  rollouts[0].shaping = -0.5f;
  rollouts[1].values.clear();
  rollouts[1].rollout.failure = {FailureClass::kVerifierTimeout, "it took 3 s"};
  const auto file = demo.dir / "rollouts.jsonl";
  const std::vector<std::vector<double>> advantages = {{0.5, -0.25}, {}};
  REQUIRE(
      save_rollouts(file, result_of({"quiz"}), rollouts, advantages, *demo.model.tokenizer).ok());
  const auto lines = lines_of(file);
  REQUIRE(lines.size() == 3);
  CHECK(lines[0] == json::parse(R"({"format": "tracewise rollouts 1", "rollouts": 2, "step": 7,
                                    "weights_version": 0})"));
  const auto count = static_cast<int64_t>(rollouts[0].rollout.tokens.size());
  CHECK(lines[1]["set"] == "quiz");
  CHECK(lines[1]["id"] == "p0");
  CHECK(lines[1]["response"] == "3+8=1\nans 1");
  CHECK(lines[1]["token_ids"] == rollouts[0].rollout.tokens);
  CHECK(lines[1]["reward"] == 1.0);
  CHECK(lines[1]["reward_shaping"] == -0.5);
  CHECK(lines[1]["failure_class"] == nullptr);
  CHECK(lines[1]["start_value"] == 0.25);
  CHECK(lines[1]["steps"] == json::parse(R"([
    {"text": "3+8=1\n", "tokens": 6, "value": 0.75, "gain": 0.5, "advantage": 0.5},
    {"text": "ans 1", "tokens": )" + std::to_string(count - 6) +
                                         R"(, "value": 1.0, "gain": 0.25,
     "advantage": -0.25}])"));
  CHECK(lines[2]["sample"] == 1);
  CHECK(lines[2]["reward"] == nullptr);
  CHECK(lines[2]["failure_class"] == "verifier_timeout");
  CHECK(lines[2]["failure"] == "it took 3 s");

  const auto stored = must(load_rollouts(file));
  REQUIRE(stored.size() == 2);
  RolloutView view = make_view(rollouts[0], advantages[0], true, *demo.model.tokenizer);
  view.set = "quiz";
  view.id = "p0";
  CHECK(view_json(stored[0]) == view_json(view));
  CHECK(view_text(stored[0], false) == view_text(view, false));
  CHECK(view_text(view, false).starts_with("set      quiz, prompt p0\n"));
  CHECK_FALSE(stored[1].reward.has_value());
}

TEST_CASE("a file of rollouts that was cut or is another is refused with its line") {
  const TempDir dir;
  const auto error = [&](const std::string& text) {
    const std::string file = dir.put("rollouts.jsonl", text).string();
    const Finished finished = run_tracewise({"trace", "--rollouts", file});
    CHECK(finished.exit_code == 2);
    CHECK(finished.out.empty());
    CHECK_THAT(finished.err, Catch::Contains(file));
    CHECK(std::count(finished.err.begin(), finished.err.end(), '\n') == 1);
    return finished.err;
  };
  const std::string head = "{\"format\":\"tracewise rollouts 1\",\"rollouts\":1}\n";
  CHECK_THAT(error("{\"prompt\":\"x\"}\n"), Catch::Contains(":1: this is no file of rollouts"));
  CHECK_THAT(error("{\"format\":\"tracewise rollouts 2\"}\n"),
             Catch::Contains(":1: this is no file of rollouts"));
  CHECK_THAT(error(head), Catch::Contains("tells of 1 rollouts, and there are 0"));
  CHECK_THAT(error(head + "{\"set\":\"a\",\"id\":\"1\"}\n"),
             Catch::Contains(":2: no rollout of an evaluation: key 'prompt' not found"));
  CHECK_THAT(error(head + "{\"set\":\"a\",\"id\":7}\n"),
             Catch::Contains(":2: ") && Catch::Contains("must be string"));
  CHECK_THAT(error(head + "{\"set\":\"a\",\"id\":"), Catch::Contains(":2: "));
  const Finished none = run_tracewise({"trace", "--rollouts", (dir / "none.jsonl").string()});
  CHECK(none.exit_code == 2);
  CHECK_THAT(none.err, Catch::Contains("none.jsonl"));
}

TEST_CASE("trace shows a stored rollout by its row, and refuses a row that is not there") {
  const TinyDemo demo;
  const std::vector<TracedRollout> rollouts = {two_steps(demo, "quiz", 0, 0, 1),
                                               two_steps(demo, "quiz", 0, 1, 0)};
  const auto file = (demo.dir / "rollouts.jsonl").string();
  REQUIRE(save_rollouts(file, result_of({"quiz"}), rollouts, {}, *demo.model.tokenizer).ok());
  const Finished second = run_tracewise({"trace", "--rollouts", file, "--row", "2"});
  CHECK(second.exit_code == 0);
  CHECK_THAT(second.out, Catch::Contains("1 in a group of 2, reward 0"));
  CHECK(second.out.find("reward 1") == std::string::npos);
  const Finished third = run_tracewise({"trace", "--rollouts", file, "--row", "3"});
  CHECK(third.exit_code == 2);
  CHECK_THAT(third.err, Catch::Contains("has 2 rollouts"));
  CHECK(run_tracewise({"trace", "--rollouts", file, "--prompt", "1+1="}).exit_code == 2);
  CHECK(run_tracewise({"trace", "--rollouts", file, "--all"}).exit_code == 2);
}

TEST_CASE("a report has a row for each set of a file, of the figures that eval printed") {
  const TinyDemo demo;
  std::vector<TracedRollout> rollouts = {
      two_steps(demo, "math", 0, 0, 1), two_steps(demo, "math", 0, 1, 0),
      two_steps(demo, "math", 1, 0, 1), two_steps(demo, "math", 1, 1, 1),
      two_steps(demo, "quiz", 0, 0, 0), two_steps(demo, "quiz", 0, 1, 0)};
  rollouts[3].rollout.failure = {FailureClass::kVerifierError, "no"};
  std::ranges::sort(rollouts, {}, [](const auto& t) { return t.rollout.key; });
  const auto file = demo.dir / "both.jsonl";
  REQUIRE(
      save_rollouts(file, result_of({"math", "quiz"}), rollouts, {}, *demo.model.tokenizer).ok());
  const std::vector<std::filesystem::path> files = {file};
  const Report report = must(report_runs(files));
  REQUIRE(report.table.rows.size() == 2);
  CHECK(report.table.rows[0][0] == "both.jsonl, math");
  CHECK(report.table.rows[0][2] == "0.75");  // (1/2 + 1) / 2, not 2/3
  CHECK(report.table.rows[1][0] == "both.jsonl, quiz");
  CHECK(report.table.rows[1][2] == "0");
  CHECK(report.rollouts.size() == 5);  // 3 of math, 2 of quiz; the failed one is not shown
  const std::filesystem::path cut = demo.dir.put("cut.jsonl", "{\"format\":1}\n");
  const std::vector<std::filesystem::path> other = {cut};
  CHECK_THAT(report_runs(other).error().message, Catch::Contains("cut.jsonl:1: "));
}

TEST_CASE("an evaluation that probes keeps the advantages that training would give") {
  const TinyDemo demo;
  const Config config = demo.config({"probe.mode=likelihood", "eval.samples=4",
                                     "eval.max_new_tokens=30", "advantage.kind=step_group"});
  const std::vector<EvalSet> sets = {
      {"quiz", {prompt_of(demo.model, "3+8*2=\n", "2"), prompt_of(demo.model, "1+1=\n", "2")}, 4}};
  const Evaluation probed =
      must(evaluate(config, demo.model, sets, {.probe = true, .keep_rollouts = true}, {}, {}));
  REQUIRE(probed.rollouts.size() == 8);
  REQUIRE(probed.advantages.size() == 8);
  for (const size_t begin : {size_t{0}, size_t{4}}) {
    std::vector<StepRollout> steps;
    for (size_t i = begin; i < begin + 4; ++i) {
      const TracedRollout& t = probed.rollouts[i];
      REQUIRE(t.values.size() == t.step_ends.size());
      StepRollout& rollout = steps.emplace_back();
      rollout.reward = static_cast<double>(t.reward);
      rollout.values.assign(t.values.begin(), t.values.end());
      for (size_t k = 0; k < t.step_ends.size(); ++k)
        rollout.step_tokens.push_back(t.step_ends[k] - (k == 0 ? 0 : t.step_ends[k - 1]));
    }
    const auto want = group_advantages(steps, config.group.advantage);
    for (size_t i = 0; i < 4; ++i) CHECK(probed.advantages[begin + i] == want[i]);
  }
  const Evaluation plain =
      must(evaluate(config, demo.model, sets, {.keep_rollouts = true}, {}, {}));
  CHECK(plain.advantages.empty());
}

}  // namespace tracewise
