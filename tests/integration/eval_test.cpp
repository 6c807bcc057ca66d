// Evaluations of several sets by the real binary, in a run, after a resume and outside.
#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "tests/integration/small_task.hpp"

using namespace tracewise;
namespace fs = std::filesystem;
using nlohmann::json;

namespace {

std::vector<json> lines_of(const fs::path& file) {
  std::vector<json> lines;
  std::ifstream stream(file);
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

std::set<std::string> names_in(const fs::path& folder) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder))
    names.insert(entry.path().filename().string());
  return names;
}

// The run's evaluations, by step.
std::map<uint64_t, json> evals_of(const fs::path& run) {
  std::map<uint64_t, json> evals;
  for (const json& line : lines_of(run / "metrics.jsonl"))
    if (line.contains("eval/accuracy")) evals[line.at("step")] = line;
  return evals;
}

}  // namespace

TEST_CASE("a resumed run measures the sets that it began with, and what eval measures outside") {
  const Task task;
  const fs::path quiz = task / "quiz.jsonl";
  fs::copy(task.files().final, quiz);  // 8 prompts
  const std::string sets = "eval.sets=[{name=\"quiz\",path=\"" + quiz.string() +
                           "\",samples=3,max_rows=4,verifier=\"exact\"}]";
  const Words evaluate = {sets,
                          "data.eval_prompts=" + task.files().curve.string(),
                          "eval.samples=2",
                          "eval.pass_at=[1,2]",
                          "eval.max_new_tokens=24",
                          "eval.at_start=false",
                          "eval.at_end=true",
                          "eval.every_steps=1",
                          "eval.save_outputs=2",
                          "eval.best_set=quiz",
                          "run.steps=2"};
  REQUIRE(task.run("run", task.train("run", evaluate)) == 0);
  const fs::path run = task / "run";
  const std::string curve = task.files().curve.stem().string();
  CHECK(names_in(run / "eval_prompts") == std::set<std::string>{curve + ".jsonl", "quiz.jsonl"});
  CHECK(evals_of(run).size() == 2);

  fs::remove(quiz);  // the run has its own copy
  REQUIRE(task.run("resume",
                   {TRACEWISE_BINARY, "train", "--resume", run, "--set", "run.steps=4"}) == 0);
  const auto evals = evals_of(run);
  REQUIRE(evals.size() == 4);
  const json& last = evals.at(4);
  CHECK(last["eval/quiz/rollouts"] == 12);
  CHECK(last["eval/" + curve + "/rollouts"] == 16);
  const double quiz_accuracy = last["eval/quiz/accuracy"];
  const double curve_accuracy = last["eval/" + curve + "/accuracy"];
  CHECK(last["eval/accuracy"] == Approx((quiz_accuracy + curve_accuracy) / 2));
  CHECK(last["eval/quiz/pass_at_1"] == Approx(quiz_accuracy));
  // The first with the highest accuracy of the set that chooses.
  const auto best = std::ranges::max_element(evals, {}, [](const auto& eval) {
    return eval.second["eval/quiz/accuracy"].template get<double>();
  });
  CHECK(fs::read_symlink(run / "checkpoints/best").filename() ==
        "step-" + std::to_string(best->first));
  const auto step = [](uint64_t s) { return "step-" + std::to_string(s) + ".jsonl"; };
  CHECK(names_in(run / "evals") == std::set<std::string>{step(3), step(4), step(best->first)});

  // Outside, the same weights have the same rollouts.
  const fs::path outside = task / "outside.jsonl";
  Words words = {TRACEWISE_BINARY,
                 "eval",
                 "--config",
                 run / "config.toml",
                 "--out",
                 outside,
                 "--json",
                 "--data",
                 curve + "=" + task.files().curve.string(),
                 "--model",
                 run / "checkpoints/step-4/model"};
  REQUIRE(task.run("eval", words) == 0);
  const auto stored = lines_of(outside);
  auto inside = lines_of(run / "evals/step-4.jsonl");
  CHECK(inside.front()["step"] == 4);
  CHECK(inside.front()["rollouts"] == 28);
  std::erase_if(inside,
                [](const json& line) { return !line.contains("set") || line["set"] == "quiz"; });
  REQUIRE(stored.size() == 17);
  REQUIRE(inside.size() == 16);
  for (size_t i = 0; i < inside.size(); ++i) CHECK(inside[i] == stored[i + 1]);

  // The file that a run keeps is shown as one of eval's is.
  CHECK(task.run("trace", {TRACEWISE_BINARY, "trace", "--rollouts", run / "evals/step-4.jsonl",
                           "--row", "28"}) == 0);
  CHECK(task.run("report", {TRACEWISE_BINARY, "report", run, run / "evals/step-4.jsonl", "--out",
                            task / "page.html"}) == 0);
  CHECK(slurp(task / "page.html").find("step-4.jsonl, quiz") != std::string::npos);
}

TEST_CASE("evaluation sets that cannot be measured are refused before there is a run") {
  const Task task;
  const std::string curve = task.files().curve.string();
  REQUIRE(write_file(task / "words.jsonl", "{\"prompt\":\"1=\\n\",\"answer\":\"one\"}\n").ok());
  REQUIRE(write_file(task / "empty.jsonl", "").ok());
  const auto set = [](const std::string& name, const std::string& path,
                      const std::string& more = "") {
    return "eval.sets=[{name=\"" + name + "\",path=\"" + path + "\"" + more + "}]";
  };
  struct Case {
    Words sets;
    std::string said;
  };
  const std::vector<Case> cases = {
      {{set("quiz", (task / "none.jsonl").string())}, "none.jsonl"},
      {{set("quiz", (task / "empty.jsonl").string())}, "empty.jsonl"},
      {{set("quiz", (task / "words.jsonl").string(), ",verifier=\"numeric\"")}, "words.jsonl:1"},
      {{set("quiz", curve, ",verifier=\"nummeric\"")}, "eval.sets.verifier = \"nummeric\""},
      {{set("quiz", curve, ",sample=2")}, "did you mean eval.sets.samples?"},
      {{set(task.files().curve.stem().string(), curve), "data.eval_prompts=" + curve},
       "two evaluation sets have the name"},
      {{set("quiz", curve), "eval.pass_at=[2]"}, "the evaluation set quiz has 1"},
      {{set("quiz", curve), "eval.best_set=quizz"}, "the sets are quiz"},
      {{"data.eval_rows=2", set("held_out", curve)}, "two evaluation sets have the name held_out"},
  };
  for (const Case& c : cases) {
    INFO(c.said);
    CHECK(task.run("bad", task.train("bad", c.sets)) == 2);
    INFO(task.err());
    CHECK(task.err().find(c.said) != std::string::npos);
    CHECK_FALSE(fs::exists(task / "bad/config.toml"));
  }
}
