#include "launch/evaluate.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#include <catch2/catch.hpp>

#include <cmath>
#include <nlohmann/json.hpp>

#include "actors/eval_run.hpp"
#include "launch/rollouts_file.hpp"
#include "model/scorer.hpp"
#include "tests/launch/tiny_demo.hpp"
#include "tests/process.hpp"

namespace tracewise {
namespace {

using namespace testing;
using nlohmann::json;

std::vector<Prompt> prompts_of(const TinyDemo& demo, size_t count) {
  std::vector<Prompt> prompts;
  for (size_t i = 0; i < count; ++i) {
    const std::string digit = std::to_string(i % 10);
    prompts.push_back(prompt_of(demo.model, digit + "+8*2,4*7-1=\n", digit + "7"));
  }
  return prompts;
}

std::vector<EvalSet> one_set(const Config& config, const std::vector<Prompt>& prompts) {
  return {{"eval", prompts, config.run.eval.samples}};
}

Result<Evaluation> evaluated(const Config& config, const TinyDemo& demo,
                             const std::vector<Prompt>& prompts, EvaluateOptions options = {}) {
  options.keep_rollouts = true;
  return evaluate(config, demo.model, one_set(config, prompts), options, {}, {});
}

std::vector<std::vector<int32_t>> tokens_of(const Evaluation& evaluation) {
  std::vector<std::vector<int32_t>> tokens;
  for (const TracedRollout& t : evaluation.rollouts) tokens.push_back(t.rollout.tokens);
  return tokens;
}

// The greedy responses' texts, for answers that are right.
std::vector<std::string> greedy_texts(const Config& config, const TinyDemo& demo,
                                      const std::vector<Prompt>& prompts) {
  std::vector<std::string> texts;
  for (const TracedRollout& t : must(evaluated(config, demo, prompts)).rollouts)
    texts.push_back(response_text(t.rollout.tokens, *demo.model.tokenizer));
  return texts;
}

}  // namespace

TEST_CASE("an evaluation samples what an engine samples for the groups of an evaluation in a run") {
  const TinyDemo demo;
  const Config config = demo.config({"eval.samples=3", "eval.max_new_tokens=40"});
  const auto prompts = prompts_of(demo, 7);
  const auto sets = one_set(config, prompts);
  const auto engine = must(make_engine(engine_options(config, demo.model.config), demo.model.config,
                                       demo.model.weights, nullptr));
  for (GroupTask& task : EvalRun(sets, config.run.eval.sampling, 0).tasks()) engine->submit(task);
  std::map<std::pair<uint64_t, uint32_t>, std::vector<int32_t>> want;
  while (want.size() < 21)
    for (const Rollout& r : engine->step({}).rollouts) want[{r.key.group, r.sample}] = r.tokens;

  const Evaluation got = must(evaluated(config, demo, prompts));
  REQUIRE(got.rollouts.size() == 21);
  size_t i = 0;
  for (const auto& [key, tokens] : want) {
    CHECK(got.rollouts[i].rollout.key == GroupKey{key.first, 0});
    CHECK(got.rollouts[i].rollout.sample == key.second);
    CHECK(got.rollouts[i].rollout.tokens == tokens);
    ++i;
  }
}

TEST_CASE("the number of engines and what they owe at a time do not change a measurement") {
  const TinyDemo demo;
  const auto prompts = prompts_of(demo, 9);
  const Evaluation one = must(evaluated(demo.config({"eval.samples=2"}), demo, prompts));
  const Evaluation many = must(evaluated(
      demo.config({"eval.samples=2", "run.generators=3", "run.window_samples=1"}), demo, prompts));
  CHECK(tokens_of(many) == tokens_of(one));
  CHECK(many.result.tokens_mean == one.result.tokens_mean);
  CHECK(many.result.steps_mean == one.result.steps_mean);
}

TEST_CASE("accuracy, pass@k and intervals are those of the right and wrong responses") {
  const TinyDemo demo;
  const std::vector<std::string> sets = {"eval.temperature=0", "eval.max_new_tokens=6",
                                         "verifier.answer_prefix=\"\"", "eval.samples=2",
                                         "verifier.require_stop=false"};
  const Config config = demo.config(sets);
  auto prompts = prompts_of(demo, 8);
  const auto texts = greedy_texts(config, demo, prompts);
  // The answers to three of the eight are what the model says; it says so in both samples.
  for (size_t i = 0; i < 8; ++i) prompts[i].gold = i < 3 ? texts[2 * i] : "no such text";
  const Evaluation got = must(evaluated(config, demo, prompts));
  const EvalResult& r = got.result;
  CHECK(r.prompts == 8);
  CHECK(r.rollouts == 16);
  CHECK(r.failures == 0);
  CHECK(r.accuracy == 0.375);
  REQUIRE(r.pass_at.size() == 1);
  CHECK(r.pass_at[0].k == 2);
  CHECK(r.pass_at[0].value == 0.375);
  // The samples of a prompt agree: Wilson for 3 of 8 at z = 1.96, centre (.375 + 3.8416/16) /
  // (1 + 3.8416/8) = .41555, half 1.96 / 1.4802 * sqrt(.375*.625/8 + 3.8416/256) = .27868.
  CHECK(r.accuracy_low == Approx(0.13687).margin(1e-4));
  CHECK(r.accuracy_high == Approx(0.69423).margin(1e-4));
  double tokens = 0;
  for (const TracedRollout& t : got.rollouts)
    tokens += static_cast<double>(t.rollout.tokens.size());
  CHECK(r.tokens_mean == Approx(tokens / 16));
  CHECK(got.stats.response_tokens == static_cast<uint64_t>(tokens));
}

TEST_CASE("probing adds the values and changes nothing else that is measured") {
  const TinyDemo demo;
  const auto prompts = prompts_of(demo, 5);
  const Config config = demo.config({"eval.samples=2", "probe.mode=likelihood"});
  const Evaluation plain = must(evaluated(config, demo, prompts));
  const Evaluation probed = must(evaluated(config, demo, prompts, {.probe = true}));
  CHECK(tokens_of(probed) == tokens_of(plain));
  CHECK(probed.result.accuracy == plain.result.accuracy);
  CHECK(plain.stats.probed_rollouts == 0);
  CHECK(probed.stats.probed_rollouts == 10);
  CHECK(probed.stats.solving_tokens + probed.stats.checking_tokens == probed.stats.response_tokens);

  const auto scorer = must(make_scorer(demo.model.config, demo.model.weights, {}));
  for (const TracedRollout& t : probed.rollouts) {
    CHECK(t.rollout.purpose == Purpose::kEval);
    REQUIRE(t.values.size() == t.step_ends.size());
    // V_0 from scratch: the prompt, "ans ", the gold answer's two digits.
    std::vector<int32_t> tokens = t.rollout.prompt.tokens;
    tokens.push_back(demo.model.tokenizer->find("ans "));
    for (const int32_t gold : t.rollout.prompt.gold_tokens) tokens.push_back(gold);
    const std::vector<std::vector<int32_t>> one = {tokens};
    const auto scored = must(scorer->score(one));
    const auto last = scored[0].end();
    CHECK(t.values[0] == Approx(std::exp((last[-1] + last[-2]) / 2)).margin(1e-5));
  }
}

TEST_CASE("a rollout whose values cannot be probed is measured all the same") {
  const TinyDemo demo;
  // 1 + 170 prompt tokens, 1 of the probe and 30 of the answer: more than the context of 192.
  const std::vector<Prompt> prompts = {
      prompt_of(demo.model, std::string(170, '3'), std::string(30, '1')),
      prompt_of(demo.model, "3+8*2=\n", "2")};
  const Config config = demo.config({"eval.samples=2", "probe.mode=likelihood"});
  const Evaluation got = must(evaluated(config, demo, prompts, {.probe = true}));
  CHECK(got.unprobed == 2);
  CHECK(got.result.rollouts == 4);
  CHECK(got.result.failures == 0);
  CHECK(got.stats.probed_rollouts == 2);
}

TEST_CASE("an evaluation whose every rollout fails says how the first one failed") {
  const TinyDemo demo;
  Prompt prompt = prompt_of(demo.model, "3+8*2=\n", "2");
  prompt.gold.clear();
  const Evaluation got = must(evaluated(demo.config(), demo, {prompt}));
  CHECK(got.result.rollouts == 0);
  CHECK(got.result.failures == 1);
  CHECK(got.first_failure.failure_class == FailureClass::kVerifierError);
}

TEST_CASE("an evaluation refuses what it cannot do, from its threads too") {
  const TinyDemo demo;
  const auto prompts = prompts_of(demo, 2);
  const auto error = [](const Result<Evaluation>& result) {
    REQUIRE_FALSE(result.ok());
    return result.error().error_class;
  };
  CHECK(error(evaluated(demo.config(), demo, {})) == ErrorClass::kBadInput);
  CHECK(error(evaluate(demo.config(), demo.model, {}, {}, {}, {})) == ErrorClass::kBadInput);
  CHECK(error(evaluated(demo.config(), demo, prompts, {.probe = true})) == ErrorClass::kBadInput);
  CHECK(error(evaluated(demo.config({"engine.device=cuda:77", "run.generators=2"}), demo,
                        prompts)) == ErrorClass::kUnsupported);
  std::stop_source stop;
  stop.request_stop();
  CHECK(error(evaluate(demo.config(), demo.model, one_set(demo.config(), prompts), {},
                       stop.get_token(), {})) == ErrorClass::kCancelled);
}

TEST_CASE("an evaluation reports where it stands") {
  const TinyDemo demo;
  const auto prompts = prompts_of(demo, 40);
  std::vector<EvaluateProgress> reports;
  const Config config = demo.config({"run.progress_seconds=0.001", "eval.samples=8"});
  REQUIRE(evaluate(config, demo.model, one_set(config, prompts), {}, {},
                   [&](const EvaluateProgress& p) { reports.push_back(p); })
              .ok());
  REQUIRE_FALSE(reports.empty());
  uint64_t before = 0;
  for (const EvaluateProgress& p : reports) {
    CHECK(p.groups == 40);
    CHECK(p.rollouts == 320);
    CHECK(p.rollouts_done >= before);
    CHECK(p.rollouts_done >= 8 * p.groups_done);
    CHECK((p.seconds_left < 0) == (p.rollouts_done == 0));
    CHECK(std::isnan(p.accuracy) == (p.rollouts_done == 0));
    CHECK((p.tokens_per_second > 0 || p.rollouts_done == 0));
    before = p.rollouts_done;
  }
}

TEST_CASE("eval --json writes what evaluate() measured") {
  const TinyDemo demo;
  const auto data = demo.dir.put("eval.jsonl",
                                 "{\"prompt\":\"3+8*2=\\n\",\"answer\":\"2\"}\n"
                                 "{\"prompt\":\"1+1*5,2-1=\\n\",\"answer\":\"01\"}\n");
  const std::vector<std::string> sets = {"probe.mode=likelihood", "run.generators=2"};
  const Finished finished = run_tracewise(
      demo.words("eval", {"--data", data.string(), "--samples", "4", "--probe", "--json"}, sets));
  REQUIRE(finished.exit_code == 0);
  const json line = json::parse(finished.out);

  const Config config = demo.config({"probe.mode=likelihood", "eval.samples=4"});
  const std::vector<Prompt> prompts = {prompt_of(demo.model, "3+8*2=\n", "2"),
                                       prompt_of(demo.model, "1+1*5,2-1=\n", "01")};
  const Evaluation want = must(evaluated(config, demo, prompts, {.probe = true}));
  CHECK(line["prompts"] == 2);
  REQUIRE(line["sets"].size() == 1);
  CHECK(line["sets"][0]["name"] == "eval");
  CHECK(line["sets"][0]["data"] == data.string());
  CHECK(line["sets"][0]["samples"] == 4);
  CHECK(line["sets"][0]["accuracy"] == want.result.accuracy);
  CHECK(line["rollouts"] == 8);
  CHECK(line["failures"] == 0);
  CHECK(line["seed"] == 5);
  CHECK(line["accuracy"] == want.result.accuracy);
  CHECK(line["accuracy_ci"] == json{want.result.accuracy_low, want.result.accuracy_high});
  REQUIRE(line["pass_at"].size() == 1);
  CHECK(line["pass_at"][0]["k"] == 4);
  CHECK(line["pass_at"][0]["value"] == want.result.pass_at[0].value);
  CHECK(line["tokens_mean"] == want.result.tokens_mean);
  CHECK(line["tokens_total"] == want.stats.response_tokens);
  CHECK(line["steps_mean"] == want.result.steps_mean);
  CHECK(line["solving_tokens_mean"].get<double>() + line["checking_tokens_mean"].get<double>() ==
        Approx(want.result.tokens_mean));
  CHECK(line["probed_rollouts"] == 8);
  CHECK(line["brier"].get<double>() ==
        Approx(want.stats.brier_sum / static_cast<double>(want.stats.values)));

  const Finished text =
      run_tracewise(demo.words("eval", {"--data", data.string(), "--samples", "4"}));
  CHECK(text.exit_code == 0);
  CHECK_THAT(text.out,
             Catch::Contains("avg@4, 8 rollouts of 2 prompts") && Catch::Contains("pass@4"));
  CHECK(text.out.find("solving") == std::string::npos);
}

TEST_CASE("eval refuses bad prompt files and settings with exit code 2 and one sentence") {
  const TinyDemo demo;
  const auto error = [&](const std::vector<std::string>& more) {
    const Finished finished = run_tracewise(demo.words("eval", more));
    CHECK(finished.exit_code == 2);
    CHECK(finished.out.empty());
    return finished.err;
  };
  const std::string empty = demo.dir.put("empty.jsonl", "\n").string();
  CHECK(error({"--data", empty}) == "tracewise: " + empty + ": the file has no rows\n");
  const std::string bad =
      demo.dir.put("bad.jsonl", "{\"prompt\":\"3=\",\"answer\":\"3\"}\n{\"prompt\":\"x\"}\n")
          .string();
  CHECK_THAT(error({"--data", bad}), Catch::Contains(bad + ":2: "));
  CHECK_THAT(error({}), Catch::Contains("data.eval_prompts is not set"));
  const std::string good =
      demo.dir.put("good.jsonl", "{\"prompt\":\"3=\",\"answer\":\"3\"}\n").string();
  CHECK_THAT(error({"--data", good, "--probe"}), Catch::Contains("probe.mode is none"));
  CHECK_THAT(error({"--data", good, "--set", "verifier.kind=numeric", "--model", "/nowhere"}),
             Catch::Contains("/nowhere is not a folder"));
  // The gold answer "3=" is no number, so no response could be right.
  const std::string failing =
      demo.dir.put("failing.jsonl", "{\"prompt\":\"3=\",\"answer\":\"3=\"}\n").string();
  CHECK_THAT(error({"--data", failing, "--set", "verifier.kind=numeric"}),
             Catch::Contains(failing + ":1: ") && Catch::Contains("no number"));
  CHECK(error({"--data", good, "--data", good}) ==
        "tracewise: two evaluation sets have the name good\n");
  CHECK_THAT(error({"--data", good, "--samples", "2", "--set", "eval.pass_at=[1,4]"}),
             Catch::Contains("pass@4 needs as many rollouts"));
  CHECK_THAT(error({"--data", good, "--out", "/nowhere/out.jsonl"}),
             Catch::Contains("cannot write into /nowhere"));
  CHECK_THAT(error({"--data", "quiz=" + good, "--out", good}),
             Catch::Contains("would overwrite prompts"));
  CHECK_THAT(error({"--data", good, "--out", demo.dir.path().string()}),
             Catch::Contains("is a folder"));
  CHECK_THAT(error({"--data", "quiz="}), Catch::Contains("--data quiz=: it must be [NAME=]FILE"));
  CHECK_THAT(error({"--data", ""}), Catch::Contains("the file is missing"));
  CHECK(slurp(good).starts_with("{"));
  CHECK_THAT(error({"--set", "eval.best_set=x", "--set", "data.eval_prompts=" + good}),
             Catch::Contains("the sets are good"));
  CHECK(run_tracewise({"eval", "--help"}).exit_code == 0);
}

TEST_CASE("several sets are measured in one go, each as it is alone") {
  const TinyDemo demo;
  const std::string easy = demo.dir
                               .put("easy.jsonl",
                                    "{\"prompt\":\"3+8*2=\\n\",\"answer\":\"2\"}\n"
                                    "{\"prompt\":\"1+1=\\n\",\"answer\":\"2\"}\n")
                               .string();
  const std::string hard =
      demo.dir.put("hard.jsonl", "{\"prompt\":\"7*7=\\n\",\"answer\":\"9\"}\n").string();
  const std::string out = (demo.dir / "both.jsonl").string();
  const auto eval = [&](std::vector<std::string> words) {
    words.insert(words.end(), {"--samples", "3", "--json"});
    const Finished finished = run_tracewise(demo.words("eval", words));
    INFO(finished.err);
    REQUIRE(finished.exit_code == 0);
    return json::parse(finished.out);
  };
  const json both = eval({"--data", "one=" + easy, "--data", hard, "--out", out});
  REQUIRE(both["sets"].size() == 2);
  CHECK(both["sets"][0]["name"] == "one");
  CHECK(both["sets"][1]["name"] == "hard");
  CHECK(both["rollouts"] == 9);
  const json alone = eval({"--data", hard});
  for (const char* key : {"accuracy", "tokens_mean", "steps_mean", "accuracy_ci", "pass_at"})
    CHECK(both["sets"][1][key] == alone[key]);

  const auto stored = must(load_rollouts(out));
  REQUIRE(stored.size() == 9);
  std::map<std::string, int> of_set;
  for (const RolloutView& rollout : stored) ++of_set[rollout.set];
  CHECK(of_set == std::map<std::string, int>{{"hard", 3}, {"one", 6}});
  const Finished shown = run_tracewise({"trace", "--rollouts", out, "--row", "2", "--json"});
  REQUIRE(shown.exit_code == 0);
  CHECK(shown.out == view_json(stored[1]) + "\n");
  CHECK_THAT(run_tracewise({"trace", "--rollouts", out}).out, Catch::Contains("advantage"));
  const std::string page = (demo.dir / "page.html").string();
  CHECK(run_tracewise({"report", out, "--out", page}).exit_code == 0);
  CHECK_THAT(slurp(page), Catch::Contains("both.jsonl, hard"));
}

TEST_CASE("SIGINT ends an evaluation with exit code 130 and no result") {
  const TinyDemo demo;
  std::string rows;
  for (int i = 0; i < 4000; ++i) rows += "{\"prompt\":\"3+8*2=\\n\",\"answer\":\"2\"}\n";
  const auto data = demo.dir.put("eval.jsonl", rows);
  auto words = demo.words("eval", {"--data", data.string(), "--samples", "1000"},
                          {"run.progress_seconds=0.05"});
  words.insert(words.begin(), TRACEWISE_BINARY);
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  int err[2];
  REQUIRE(::pipe2(err, O_CLOEXEC) == 0);
  const std::string out = (demo.dir / "out").string();
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(err[1], STDERR_FILENO);
    ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(err[1]);
  char first = 0;
  REQUIRE(::read(err[0], &first, 1) == 1);  // the first progress line has begun
  ::kill(child, SIGINT);
  std::string rest(4096, '\0');
  while (::read(err[0], rest.data(), rest.size()) > 0) {
  }
  ::close(err[0]);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 130);
  CHECK(slurp(out).empty());
}

}  // namespace tracewise
