#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <sstream>

#include "launch/trace_view.hpp"
#include "launch/tracing.hpp"
#include "tests/launch/tiny_demo.hpp"
#include "tests/process.hpp"

namespace tracewise {
namespace {

using namespace testing;
using nlohmann::json;

const std::string kPrompt = "3+8*2,4*7-1=\n";

std::vector<json> lines_of(const std::string& text) {
  std::vector<json> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(json::parse(line));
  return lines;
}

// "3+8=1\n" "wait\n" "ans 27<eos>" with V = .25, .75, .5 and reward 1.
TracedRollout three_steps(const TinyDemo& demo) {
  const Tokenizer& tokenizer = *demo.model.tokenizer;
  TracedRollout traced;
  traced.rollout.prompt = prompt_of(demo.model, kPrompt, "27");
  traced.rollout.sample = 1;
  traced.rollout.group_samples = 8;
  traced.rollout.tokens = must(tokenizer.encode("3+8=1\nwait\nans 27", false));
  traced.rollout.tokens.push_back(2);
  traced.step_ends = {6, 8, 12};
  traced.values = {0.25f, 0.75f, 0.5f};
  traced.reward = 1;
  traced.probe_tokens = 9;
  return traced;
}

}  // namespace

TEST_CASE("a view has for each step the value after it, the gain and the advantage") {
  const TinyDemo demo;
  const std::vector<double> advantages = {0.5, -1.25, 0.0001};
  const RolloutView view = make_view(three_steps(demo), advantages, true, *demo.model.tokenizer);
  CHECK(view_text(view, false) ==
        "prompt   3+8*2,4*7-1=\n"
        "answer   27\n"
        "rollout  1 in a group of 8, reward 1, ended by stop, 12 tokens in 3 steps, V_0 0.250\n"
        "\n"
        "   k     V_k     gain  advantage  tokens  step\n"
        "   1   0.750   +0.500     +0.500       6  3+8=1\n"
        "   2   0.500   -0.250     -1.250       2  wait\n"
        "   3   1.000   +0.500     +0.000       4  ans 27\n");
  const json line = json::parse(view_json(view));
  CHECK(line["prompt"] == kPrompt);
  CHECK(line["answer"] == "27");
  CHECK(line["reward"] == 1.0);
  CHECK(line["start_value"] == 0.25);
  CHECK(line["finish"] == "stop");
  CHECK(line["tokens"] == 12);
  CHECK(line["failure"] == nullptr);
  CHECK(line["steps"] == json::parse(R"([
    {"text": "3+8=1\n", "tokens": 6, "value": 0.75, "gain": 0.5, "advantage": 0.5},
    {"text": "wait\n", "tokens": 2, "value": 0.5, "gain": -0.25, "advantage": -1.25},
    {"text": "ans 27", "tokens": 4, "value": 1.0, "gain": 0.5, "advantage": 0.0001}])"));
}

TEST_CASE("a view in colour is the plain one with each step in the colour of its value") {
  const TinyDemo demo;
  const RolloutView view = make_view(three_steps(demo), {}, true, *demo.model.tokenizer);
  const std::string text = view_text(view, true);
  // 0.75: red round(5 * .5) = 3 of 5, green 5; 0.5: both 5; 1: green alone. 16 + 36 r + 6 g.
  CHECK_THAT(text, Catch::Contains("\x1b[38;5;154m3+8=1\x1b[0m\n"));
  CHECK_THAT(text, Catch::Contains("\x1b[38;5;226mwait\x1b[0m\n"));
  CHECK_THAT(text, Catch::Contains("\x1b[38;5;46mans 27\x1b[0m\n"));
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') i = text.find('m', i) + 1;
    if (i < text.size() && text[i] == '\x1b') i = text.find('m', i) + 1;
    if (i < text.size()) plain += text[i];
  }
  CHECK(plain == view_text(view, false));
}

TEST_CASE("what is not known is a dash, and null in JSON") {
  const TinyDemo demo;
  TracedRollout traced = three_steps(demo);
  traced.values.clear();
  traced.rollout.failure = {FailureClass::kProbe, "probe: too late"};
  const RolloutView view = make_view(traced, {}, true, *demo.model.tokenizer);
  CHECK_THAT(view_text(view, true), Catch::Contains("V_0 -\nfailure  probe: too late\n") &&
                                        Catch::Contains("\n   1       -        -          -"));
  const json line = json::parse(view_json(view));
  CHECK(line["failure"] == "probe: too late");
  CHECK(line["steps"][0]["value"] == nullptr);
  CHECK(line["steps"][2]["value"] == 1.0);  // the reward is known

  // Without a gold answer the last state's value is not known either.
  const RolloutView unrewarded = make_view(three_steps(demo), {}, false, *demo.model.tokenizer);
  CHECK_FALSE(unrewarded.reward.has_value());
  CHECK(unrewarded.steps[1].gain == -0.25);
  CHECK_FALSE(unrewarded.steps[2].gain.has_value());
}

TEST_CASE("a step of several lines is indented, and control characters cannot reach a terminal") {
  RolloutView view;
  view.prompt = "p";
  StepView step;
  step.text = "one\n\x1b[2Jtwo\n\n";
  step.tokens = 3;
  view.steps = {step};
  CHECK_THAT(view_text(view, false),
             Catch::EndsWith("   1       -        -          -       3  one\n" +
                             std::string(42, ' ') + "\\x1b[2Jtwo\n"));
}

TEST_CASE("a traced group has the advantages that training would give its tokens") {
  const TinyDemo demo;
  const Config config = demo.config(
      {"probe.mode=likelihood", "advantage.uniform_groups=keep_solved",
       "sampling.max_new_tokens=40", "advantage.lambda=0.5", "advantage.length_aware=true",
       "advantage.length_ref=8", "verifier.answer_prefix=\"\"", "verifier.require_stop=false",
       "advantage.length_penalty=0.3"});
  const auto tracer = must(GroupTracer::make(config, demo.model));
  // The gold answer is a whole response, so that one of the group is right and training keeps it.
  Prompt prompt = prompt_of(demo.model, kPrompt, "27");
  const TracedGroup first = must(tracer->sample(prompt, 6, {}));
  prompt.gold = response_text(first.rollouts[2].rollout.tokens, *demo.model.tokenizer);
  const TracedGroup group = must(tracer->sample(prompt, 6, {}));
  CHECK(group.rewarded);
  CHECK(group.trained);
  CHECK(group.rollouts[2].reward == 1);
  CHECK(group.rollouts[2].rollout.tokens == first.rollouts[2].rollout.tokens);

  const BuiltGroup built = build_group(group.rollouts, config.group);
  const auto& trained = std::get<SampleGroup>(built).rollouts;
  REQUIRE(trained.size() == 6);
  for (size_t i = 0; i < 6; ++i) {
    int32_t begin = 0;
    REQUIRE(group.advantages[i].size() == group.rollouts[i].step_ends.size());
    for (size_t k = 0; k < group.advantages[i].size(); ++k) {
      const int32_t end = group.rollouts[i].step_ends[k];
      for (int32_t t = begin; t < end; ++t)
        CHECK(trained[i].advantages[t] == static_cast<float>(group.advantages[i][k]));
      begin = end;
    }
  }
}

TEST_CASE("completions get the values, rewards and advantages of the rollouts they repeat") {
  const TinyDemo demo;
  const Config config = demo.config({"probe.mode=likelihood", "sampling.max_new_tokens=60",
                                     "sampling.temperature=0.9", "advantage.kind=step_group"});
  const auto tracer = must(GroupTracer::make(config, demo.model));
  const TracedGroup sampled = must(tracer->sample(prompt_of(demo.model, kPrompt, "27"), 5, {}));
  std::vector<Completion> completions;
  for (const TracedRollout& t : sampled.rollouts)
    completions.push_back({t.rollout.prompt, t.rollout.tokens});
  const TracedGroup adopted = must(tracer->adopt(completions, 3, {}));
  REQUIRE(adopted.rollouts.size() == 5);
  for (size_t i = 0; i < 5; ++i) {
    const TracedRollout& got = adopted.rollouts[i];
    const TracedRollout& want = sampled.rollouts[i];
    CHECK_FALSE(got.rollout.failure.failed());
    CHECK(got.step_ends == want.step_ends);
    REQUIRE(got.values.size() == want.values.size());
    for (size_t k = 0; k < want.values.size(); ++k)
      CHECK(got.values[k] == Approx(want.values[k]).margin(1e-5));
    for (size_t k = 0; k < want.values.size(); ++k)
      CHECK(adopted.advantages[i][k] == Approx(sampled.advantages[i][k]).margin(1e-2));
  }
}

TEST_CASE("with base reinforce_pp_baseline the advantages are whitened over all groups") {
  // Tokens 1 and 3 with advantages .5 and -.5, and 4 tokens of 0: see command_test.cpp.
  std::vector<TracedGroup> groups(2);
  const auto add = [](TracedGroup& group, int32_t tokens, double advantage) {
    TracedRollout traced;
    traced.step_ends = {tokens};
    group.rollouts.push_back(traced);
    group.advantages.push_back({advantage});
  };
  add(groups[0], 1, 0.5);
  add(groups[0], 3, -0.5);
  add(groups[1], 4, 0);
  AdvantageOptions options;
  finish_groups(groups, options);
  CHECK(groups[0].advantages[0][0] == 0.5);
  options.kind = AdvantageKind::kOutcome;
  options.base = OutcomeBase::kReinforcePpBaseline;
  finish_groups(groups, options);
  CHECK(groups[0].advantages[0][0] == Approx(1.88982).margin(1e-4));
  CHECK(groups[0].advantages[1][0] == Approx(-1.13389).margin(1e-4));
  CHECK(groups[1].advantages[0][0] == Approx(0.37796).margin(1e-4));
}

TEST_CASE("mode verbal traces without a gold answer, up to the last state") {
  const TinyDemo demo;
  const Config config = demo.config({"probe.mode=verbal", "probe.temperature=1",
                                     "probe.continuations=8", "probe.max_new_tokens=16"});
  const auto tracer = must(GroupTracer::make(config, demo.model));
  const TracedGroup group = must(tracer->sample(prompt_of(demo.model, kPrompt, ""), 3, {}));
  CHECK_FALSE(group.rewarded);
  CHECK_FALSE(group.trained);
  for (size_t i = 0; i < 3; ++i) {
    CHECK(group.rollouts[i].values.size() == group.rollouts[i].step_ends.size());
    CHECK(group.advantages[i].empty());
  }
}

TEST_CASE("a trace needs values, and those that training would use") {
  const TinyDemo demo;
  const auto error = [&](const std::vector<std::string>& sets) {
    const Config config = demo.config(sets);
    const auto made = GroupTracer::make(config, demo.model);
    REQUIRE_FALSE(made.ok());
    CHECK(made.error().error_class == ErrorClass::kBadInput);
    return made.error().message;
  };
  CHECK_THAT(error({}), Catch::Contains("probe.mode is none"));
  CHECK_THAT(error({"probe.mode=likelihood", "advantage.shuffle_values=true"}),
             Catch::Contains("advantage.shuffle_values"));
  CHECK_THAT(error({"probe.mode=likelihood", "probe.text=hello"}), Catch::Contains("probe text"));
  const Config config = demo.config({"probe.mode=likelihood"});
  std::stop_source stop;
  stop.request_stop();
  const auto stopped = must(GroupTracer::make(config, demo.model))
                           ->sample(prompt_of(demo.model, kPrompt, "27"), 2, stop.get_token());
  REQUIRE_FALSE(stopped.ok());
  CHECK(stopped.error().error_class == ErrorClass::kCancelled);
}

TEST_CASE("trace prints one rollout of a group, plainly into a file") {
  const TinyDemo demo;
  const std::vector<std::string> sets = {"probe.mode=likelihood"};
  const auto trace = [&](std::vector<std::string> more) {
    more.insert(more.begin(), {"--prompt", kPrompt, "--answer", "27"});
    return run_tracewise(demo.words("trace", more, sets));
  };
  const Finished text = trace({"--sample", "2"});
  CHECK(text.err.empty());
  REQUIRE(text.exit_code == 0);
  CHECK(text.out.starts_with("prompt   3+8*2,4*7-1=\nanswer   27\nrollout  2 in a group of 8, "));
  CHECK(text.out.find('\x1b') == std::string::npos);
  CHECK(trace({"--sample", "2", "--color", "always"}).out.find("\x1b[38;5;") != std::string::npos);

  const auto all = lines_of(trace({"--samples", "3", "--all", "--json"}).out);
  REQUIRE(all.size() == 3);
  const auto one = lines_of(trace({"--samples", "3", "--sample", "1", "--json"}).out);
  REQUIRE(one.size() == 1);
  CHECK(one[0] == all[1]);

  const auto data = demo.dir.put("p.jsonl",
                                 "{\"prompt\":\"3=\",\"answer\":\"3\"}\n"
                                 "{\"prompt\":\"3+8*2,4*7-1=\\n\",\"answer\":27}\n");
  const auto row = lines_of(run_tracewise(demo.words("trace",
                                                     {"--data", data.string(), "--row", "2",
                                                      "--samples", "3", "--sample", "1", "--json"},
                                                     sets))
                                .out);
  REQUIRE(row.size() == 1);
  CHECK(row[0] == all[1]);
}

TEST_CASE("trace takes somebody else's completions, a group for each prompt, in the file's order") {
  const TinyDemo demo;
  const std::vector<std::string> sets = {"probe.mode=likelihood", "advantage.base=dr_grpo"};
  const std::string rows = R"({"prompt":"3+8=\n","response":"3+8=1\nans 1","answer":"1","id":"a"})"
                           "\n"
                           R"({"prompt":"4*7=\n","response":"ans 8","answer":"8"})"
                           "\n\n"
                           R"({"prompt":"3+8=\n","response":"ans 2","answer":"1","id":"a"})"
                           "\n";
  const auto file = demo.dir.put("c.jsonl", rows).string();
  const Finished finished =
      run_tracewise(demo.words("trace", {"--completions", file, "--json"}, sets));
  CHECK(finished.err.empty());
  REQUIRE(finished.exit_code == 0);
  const auto lines = lines_of(finished.out);
  REQUIRE(lines.size() == 3);
  CHECK(lines[0]["reward"] == 1.0);
  CHECK(lines[1]["reward"] == 1.0);
  CHECK(lines[2]["reward"] == 0.0);
  CHECK(lines[0]["group_samples"] == 2);
  CHECK(lines[1]["group_samples"] == 1);
  CHECK(lines[2]["sample"] == 1);
  REQUIRE(lines[0]["steps"].size() == 2);
  CHECK(lines[0]["steps"][0]["text"] == "3+8=1\n");
  CHECK(lines[0]["steps"][1]["tokens"] == 3);  // with the end token
  // One prompt, one V_0.
  CHECK(lines[0]["start_value"] == lines[2]["start_value"]);
  // dr_grpo +-.5; beta .5, gamma 1, lambda 0: gains g of rollout 0 and h of rollout 2,
  // mu = (mean g + h) / 2.
  const auto gain = [&](size_t r, size_t k) { return lines[r]["steps"][k]["gain"].get<double>(); };
  const double mu = ((gain(0, 0) + gain(0, 1)) / 2 + gain(2, 0)) / 2;
  CHECK(lines[0]["steps"][0]["advantage"].get<double>() ==
        Approx(0.5 + 0.5 * (gain(0, 0) - mu)).margin(1e-6));
  CHECK(lines[2]["steps"][0]["advantage"].get<double>() ==
        Approx(-0.5 + 0.5 * (gain(2, 0) - mu)).margin(1e-6));

  const auto third = lines_of(
      run_tracewise(demo.words("trace", {"--completions", file, "--json", "--row", "3"}, sets))
          .out);
  REQUIRE(third.size() == 1);
  CHECK(third[0] == lines[2]);
}

TEST_CASE("trace refuses what it cannot trace with exit code 2 and one sentence") {
  const TinyDemo demo;
  const auto error = [&](const std::vector<std::string>& more) {
    const Finished finished = run_tracewise(demo.words("trace", more, {"probe.mode=likelihood"}));
    CHECK(finished.exit_code == 2);
    CHECK(finished.out.empty());
    return finished.err;
  };
  CHECK_THAT(error({}), Catch::Contains("a prompt is needed"));
  CHECK_THAT(error({"--prompt", kPrompt}), Catch::Contains("--answer is needed"));
  CHECK_THAT(error({"--answer", "2"}), Catch::Contains("--prompt"));
  CHECK_THAT(error({"--prompt", "x", "--answer", "2"}), Catch::Contains("no symbol for \"x\""));
  CHECK_THAT(error({"--prompt", std::string(200, '7'), "--answer", "2"}),
             Catch::Contains("leaves no room"));
  CHECK_THAT(error({"--prompt", kPrompt, "--answer", "27", "--sample", "8"}),
             Catch::Contains("the group's samples are 0 to 7"));
  const std::string data =
      demo.dir.put("p.jsonl", "{\"prompt\":\"3=\",\"answer\":\"3\"}\n").string();
  CHECK_THAT(error({"--data", data, "--row", "2"}), Catch::Contains("has 1 rows"));
  const auto completions = [&](const std::string& row) {
    return error({"--completions", demo.dir.put("c.jsonl", row).string()});
  };
  CHECK_THAT(completions(""), Catch::Contains("the file has no rows"));
  CHECK_THAT(completions(R"({"prompt":"3=","answer":"3"})"),
             Catch::Contains("c.jsonl:1: \"response\" is missing"));
  CHECK_THAT(completions(R"({"prompt":"3=","response":"3"})"),
             Catch::Contains("c.jsonl:1: \"answer\" is missing"));
  CHECK_THAT(
      completions(R"({"prompt":"3=","answer":"3","response":")" + std::string(200, '7') + "\"}"),
      Catch::Contains(
          "c.jsonl: row 1: prompt and response have 204 tokens, but the context is 192"));
  CHECK(run_tracewise({"trace", "--help"}).exit_code == 0);
}

}  // namespace tracewise
