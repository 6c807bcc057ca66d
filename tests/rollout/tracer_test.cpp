#include "rollout/tracer.hpp"

#include <catch2/catch.hpp>
#include <cmath>

#include "model/tokenizer.hpp"

namespace tracewise {
namespace {

using Ids = std::vector<int32_t>;
using Releases = std::vector<std::pair<uint32_t, uint64_t>>;

// <bos> 0, <eos> 1, newline 2, "ans " 3, digits 0..9 are 4..13, % 14
const Tokenizer& digits() {
  static const auto tokenizer = std::move(*make_symbol_tokenizer(
      {"<bos>", "<eos>", "\n", "ans ", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "%"},
      {0, 1}, 0));
  return *tokenizer;
}

Prompt question() { return {"q", {0, 5, 6}, "27", {6, 11}}; }  // P = 3

// "1\n2\nans 27<eos>": steps end at 2, 4, 8.
const Ids kRight = {5, 2, 6, 2, 3, 6, 11, 1};
// "1\nans 28<eos>": steps end at 2, 6.
const Ids kWrong = {5, 2, 3, 6, 12, 1};

Rollout rollout(uint32_t sample, Ids tokens, uint32_t samples = 2) {
  Rollout r;
  r.key = {40, 1};
  r.sample = sample;
  r.group_samples = samples;
  r.prompt = question();
  r.logprobs.assign(tokens.size(), -0.5f);
  r.policy_logprobs = r.logprobs;
  r.versions.assign(tokens.size(), 9);
  r.tokens = std::move(tokens);
  r.lease = 100 + sample;
  r.route = {3, 2, 0};
  return r;
}

TracerOptions options(ProbeMode mode) {
  TracerOptions out;
  out.steps.delimiters = {"\n"};
  out.verifier.answer_prefix = "ans ";
  out.probe.mode = mode;
  out.probe.probe_text = "ans ";
  return out;
}

std::unique_ptr<Tracer> tracer(TracerOptions o) { return std::move(*Tracer::make(o, digits())); }

ProbeResult result_for(uint32_t sample) {
  ProbeResult result;
  result.key = {40, 1};
  result.sample = sample;
  result.lease = 100 + sample;
  result.version = 9;  // the rollout's
  result.probe_tokens = 9;
  result.probe_seconds = 0.25;
  return result;
}

bool is_empty(const Tracer::Output& out) {
  return out.probes.empty() && out.traced.empty() && out.releases.empty();
}

TEST_CASE("without probing a rollout goes on at once with steps, reward and no values") {
  const auto t = tracer(options(ProbeMode::kNone));
  const auto out = t->on_rollout(rollout(0, kRight));
  CHECK(out.probes.empty());
  REQUIRE(out.traced.size() == 1);
  CHECK(out.traced[0].step_ends == Ids{2, 4, 8});
  CHECK(out.traced[0].values.empty());
  CHECK(out.traced[0].reward == 1);
  CHECK_FALSE(out.traced[0].rollout.failure.failed());
  CHECK(out.traced[0].rollout.lease == 0);
  CHECK(out.releases == Releases{{3, 100}});
  CHECK(t->sizes().open_groups == 0);
}

TEST_CASE("the group's last rollout brings one request for all boundaries of each") {
  const auto t = tracer(options(ProbeMode::kLikelihood));
  CHECK(is_empty(t->on_rollout(rollout(1, kWrong))));
  CHECK(t->sizes().waiting_rollouts == 1);
  const auto out = t->on_rollout(rollout(0, kRight));
  CHECK(out.traced.empty());
  CHECK(out.releases.empty());  // the leases are needed
  REQUIRE(out.probes.size() == 2);
  ProbeRequest expected;
  expected.key = {40, 1};
  expected.tracer = 2;
  expected.sample = 0;
  expected.lease = 100;
  expected.kind = ProbeKind::kScore;
  expected.prefix_ends = {3, 5, 7};  // P, P + 2, P + 4
  expected.probe_tokens = {3};
  expected.target_tokens = {6, 11};
  CHECK(out.probes[0] == std::pair<uint32_t, ProbeRequest>{3, expected});
  expected.sample = 1;
  expected.lease = 101;
  expected.prefix_ends = {3, 5};
  CHECK(out.probes[1].second == expected);
  CHECK(t->sizes().probing_rollouts == 2);
  CHECK(t->sizes().open_groups == 1);
}

TEST_CASE("states that leave no room for their probe join the last step") {
  // P = 3, steps end at 2, 4, 8. A likelihood tail is "ans " and "27": 3 tokens; a generating one
  // is "ans " and the answer's first token: 2.
  const auto ends = [](ProbeMode mode, int64_t max_context) {
    TracerOptions o = options(mode);
    o.max_context = max_context;
    const auto out = tracer(o)->on_rollout(rollout(0, kRight, 1));
    REQUIRE(out.probes.size() == 1);
    return out.probes[0].second.prefix_ends;
  };
  CHECK(ends(ProbeMode::kLikelihood, 0) == Ids{3, 5, 7});
  CHECK(ends(ProbeMode::kLikelihood, 10) == Ids{3, 5, 7});  // 7 + 3 fit
  CHECK(ends(ProbeMode::kLikelihood, 9) == Ids{3, 5});
  CHECK(ends(ProbeMode::kLikelihood, 7) == Ids{3});
  CHECK(ends(ProbeMode::kAnswer, 9) == Ids{3, 5, 7});
  CHECK(ends(ProbeMode::kAnswer, 8) == Ids{3, 5});

  TracerOptions o = options(ProbeMode::kLikelihood);
  o.max_context = 9;
  const auto t = tracer(o);
  (void)t->on_rollout(rollout(0, kRight, 1));
  ProbeResult result = result_for(0);
  result.target_logprobs.assign(4, -0.5f);
  const auto out = t->on_probe_result(result);
  REQUIRE(out.traced.size() == 1);
  CHECK(out.traced[0].step_ends == Ids{2, 8});
  CHECK(out.traced[0].values.size() == 2);
  CHECK_FALSE(out.traced[0].rollout.failure.failed());
}

TEST_CASE("values from other weights than the rollout's are marked") {
  for (const uint64_t version : {9u, 10u}) {
    const auto t = tracer(options(ProbeMode::kLikelihood));
    (void)t->on_rollout(rollout(0, kRight, 1));
    ProbeResult result = result_for(0);
    result.target_logprobs.assign(6, -0.5f);
    result.version = version;
    const auto out = t->on_probe_result(result);
    REQUIRE(out.traced.size() == 1);
    CHECK_FALSE(out.traced[0].rollout.failure.failed());
    CHECK(out.traced[0].probed_by_other_weights == (version == 10));
  }
}

TEST_CASE("likelihood values are exp of the mean log-probability of the gold tokens") {
  const auto t = tracer(options(ProbeMode::kLikelihood));
  (void)t->on_rollout(rollout(0, kRight));
  (void)t->on_rollout(rollout(1, kWrong));
  ProbeResult result = result_for(0);
  // boundary-major: p = (1/4, 1/4), (1/2, 1/8), and (1, a hair above 1 by rounding)
  result.target_logprobs = {
      std::log(0.25f), std::log(0.25f), std::log(0.5f), std::log(0.125f), 0.0f, 1e-7f};
  const auto out = t->on_probe_result(result);
  REQUIRE(out.traced.size() == 1);
  const TracedRollout& traced = out.traced[0];
  CHECK(traced.rollout.sample == 0);
  REQUIRE(traced.values.size() == 3);
  CHECK(traced.values[0] == Approx(0.25));
  CHECK(traced.values[1] == Approx(0.25));
  CHECK(traced.values[2] == 1.0f);
  CHECK(traced.reward == 1);
  CHECK(traced.probe_tokens == 9);
  CHECK(traced.probe_seconds == 0.25);
  CHECK(out.releases == Releases{{3, 100}});
  CHECK(t->sizes().probing_rollouts == 1);
}

TEST_CASE("answer values are the mean verdict over the continuations") {
  TracerOptions o = options(ProbeMode::kAnswer);
  o.probe.continuations = 2;
  o.probe.sampling = {.temperature = 1, .max_new_tokens = 3};
  const auto t = tracer(o);
  const auto asked = t->on_rollout(rollout(0, kWrong, 1));
  REQUIRE(asked.probes.size() == 1);
  CHECK(asked.probes[0].second.kind == ProbeKind::kGenerate);
  CHECK(asked.probes[0].second.continuations == 2);
  CHECK(asked.probes[0].second.sampling.max_new_tokens == 3);
  CHECK(asked.probes[0].second.target_tokens.empty());
  ProbeResult result = result_for(0);
  // boundary 0: "27<eos>" right, "28<eos>" wrong; boundary 1: "27" right, "27<eos>" right
  result.continuations = {{6, 11, 1}, {6, 12, 1}, {6, 11}, {6, 11, 1}};
  const auto out = t->on_probe_result(result);
  REQUIRE(out.traced.size() == 1);
  CHECK(out.traced[0].values == std::vector<float>{0.5f, 1.0f});
  CHECK(out.traced[0].reward == 0);
}

TEST_CASE("verbal values are the mean of the stated confidences") {
  TracerOptions o = options(ProbeMode::kVerbal);
  o.probe.continuations = 2;
  const auto t = tracer(o);
  Rollout r = rollout(0, kWrong, 1);
  REQUIRE(t->on_rollout(r).probes.size() == 1);
  ProbeResult result = result_for(0);
  // boundary 0: "40%" and "80%"; boundary 1: "%", which is no number, and "90%"
  result.continuations = {{8, 4, 14, 1}, {12, 4, 14, 1}, {14, 1}, {13, 4, 14}};
  const auto out = t->on_probe_result(result);
  REQUIRE(out.traced.size() == 1);
  REQUIRE(out.traced[0].values.size() == 2);
  CHECK(out.traced[0].values[0] == Approx(0.6));
  CHECK(out.traced[0].values[1] == Approx(0.9));
}

TEST_CASE("a verbal probe needs no gold answer, the other modes do") {
  const auto verifier = *make_verifier({});
  Prompt prompt = question();
  prompt.gold.clear();
  prompt.gold_tokens.clear();
  const auto verbal = ValueProbe::make(options(ProbeMode::kVerbal).probe, digits(), *verifier);
  const auto request = verbal->request(prompt, {2, 8});
  REQUIRE(request.ok());
  CHECK(request->prefix_ends == Ids{3, 5});
  ProbeResult result;
  result.continuations = {{8, 4, 14}, {12, 4, 14}};
  const auto read = verbal->read(prompt, result, 2);
  REQUIRE(read.values.size() == 2);
  CHECK(read.values[0] == Approx(0.4));
  CHECK(read.values[1] == Approx(0.8));
  for (const ProbeMode mode : {ProbeMode::kAnswer, ProbeMode::kLikelihood}) {
    const auto other = ValueProbe::make(options(mode).probe, digits(), *verifier);
    CHECK(other->request(prompt, {2, 8}).error().message ==
          "prompt \"q\" has no gold answer to probe for");
  }
}

TEST_CASE("a boundary at which no continuation states a confidence fails the rollout") {
  const auto t = tracer(options(ProbeMode::kVerbal));
  (void)t->on_rollout(rollout(0, kWrong, 1));
  ProbeResult result = result_for(0);
  result.continuations = {{8, 4, 14, 1}, {14}};
  const auto out = t->on_probe_result(result);
  REQUIRE(out.traced.size() == 1);
  CHECK(out.traced[0].rollout.failure ==
        Failure{FailureClass::kProbe, "probe: no continuation at boundary 1 states a confidence"});
  CHECK(out.traced[0].values.empty());
}

TEST_CASE("a rollout for training is shaped, one for evaluation is not") {
  TracerOptions o = options(ProbeMode::kNone);
  o.reward_terms = {{.kind = RewardTermKind::kOverlong, .max_tokens = 1, .cache_tokens = 1}};
  const auto t = tracer(o);
  const auto trained = t->on_rollout(rollout(0, kWrong));
  REQUIRE(trained.traced.size() == 1);
  CHECK(trained.traced[0].shaping == -1);
  CHECK(trained.traced[0].reward == 0);
  Rollout measured = rollout(1, kWrong);
  measured.purpose = Purpose::kEval;
  CHECK(t->on_rollout(measured).traced[0].shaping == 0);
}

TEST_CASE("a group that will not be trained on is not probed") {
  TracerOptions o = options(ProbeMode::kLikelihood);
  std::vector<float> seen;
  o.worth_probing = [&](std::span<const TracedRollout> group) {
    for (const auto& traced : group) seen.push_back(traced.reward);
    return group.front().reward != group.back().reward;
  };
  const auto t = tracer(o);
  CHECK(is_empty(t->on_rollout(rollout(0, kWrong))));
  const auto out = t->on_rollout(rollout(1, kWrong));
  CHECK(seen == std::vector<float>{0, 0});
  CHECK(out.probes.empty());
  REQUIRE(out.traced.size() == 2);
  CHECK(out.traced[0].values.empty());
  CHECK_FALSE(out.traced[0].rollout.failure.failed());
  CHECK(out.releases == Releases{{3, 100}, {3, 101}});
  CHECK(t->sizes().open_groups == 0);
  // With one right rollout the same rule lets the group be probed.
  (void)t->on_rollout(rollout(0, kWrong));
  CHECK(t->on_rollout(rollout(1, kRight)).probes.size() == 2);
}

TEST_CASE(
    "a failed rollout counts as arrived, keeps its failure and gives its lease back at once") {
  TracerOptions o = options(ProbeMode::kLikelihood);
  o.worth_probing = [](std::span<const TracedRollout> group) { return group.size() == 1; };
  const auto t = tracer(o);
  Rollout bad = rollout(0, {5});
  bad.failure = {FailureClass::kEngine, "out of luck"};
  bad.finish = FinishReason::kFailed;
  const auto first = t->on_rollout(bad);
  CHECK(first.releases == Releases{{3, 100}});
  CHECK(first.traced.empty());
  const auto out = t->on_rollout(rollout(1, kRight));
  CHECK(out.probes.size() == 1);
  REQUIRE(out.traced.size() == 1);
  CHECK(out.traced[0].rollout.failure == bad.failure);
  CHECK(out.traced[0].reward == 0);
  CHECK(out.releases.empty());
}

TEST_CASE("a group whose every rollout fails leaves whole, unprobed, each with its failure") {
  TracerOptions o = options(ProbeMode::kLikelihood);
  o.worth_probing = [](std::span<const TracedRollout>) { return true; };
  const auto t = tracer(o);
  Rollout no_gold = rollout(0, kRight, 3);
  no_gold.prompt.gold.clear();
  Rollout too_long = rollout(1, {}, 3);
  too_long.failure = {FailureClass::kPromptTooLong, "4097 tokens"};
  too_long.lease = 0;
  Rollout cancelled = rollout(2, {5, 2}, 3);
  cancelled.failure = {FailureClass::kCancelled, "stopped"};
  CHECK(t->on_rollout(no_gold).traced.empty());
  CHECK(t->on_rollout(too_long).traced.empty());
  const auto out = t->on_rollout(cancelled);
  CHECK(out.probes.empty());
  REQUIRE(out.traced.size() == 3);
  CHECK(out.traced[0].rollout.failure.failure_class == FailureClass::kVerifierError);
  CHECK(out.traced[1].rollout.failure.failure_class == FailureClass::kPromptTooLong);
  CHECK(out.traced[1].step_ends.empty());
  CHECK(out.traced[2].rollout.failure.failure_class == FailureClass::kCancelled);
  CHECK(t->sizes().open_groups == 0);
}

TEST_CASE("a probe that fails, is lost or does not fit fails its rollout alone") {
  const auto t = tracer(options(ProbeMode::kLikelihood));
  (void)t->on_rollout(rollout(0, kRight, 3));
  (void)t->on_rollout(rollout(1, kRight, 3));
  (void)t->on_rollout(rollout(2, kRight, 3));
  ProbeResult refused = result_for(0);
  refused.failure = {FailureClass::kProbe, "lease 100 is unknown"};
  const auto first = t->on_probe_result(refused);
  REQUIRE(first.traced.size() == 1);
  CHECK(first.traced[0].rollout.failure == refused.failure);
  CHECK(first.releases == Releases{{3, 100}});

  const auto second = t->on_probe_failed({40, 1}, 1, {FailureClass::kNone, "no answer in 5 s"});
  REQUIRE(second.traced.size() == 1);
  CHECK(second.traced[0].rollout.failure == Failure{FailureClass::kProbe, "no answer in 5 s"});
  CHECK(second.releases == Releases{{3, 101}});
  CHECK(is_empty(t->on_probe_result(result_for(1))));  // too late

  ProbeResult short_one = result_for(2);
  short_one.target_logprobs = {-1, -1, -1, -1, -1};  // K * n = 6
  const auto third = t->on_probe_result(short_one);
  REQUIRE(third.traced.size() == 1);
  CHECK(third.traced[0].rollout.failure ==
        Failure{FailureClass::kProbe, "probe: the engine sent 5 log-probabilities, not 6"});
  CHECK(t->sizes().open_groups == 0);
}

TEST_CASE("log-probabilities that are not finite fail the rollout") {
  const auto t = tracer(options(ProbeMode::kLikelihood));
  (void)t->on_rollout(rollout(0, kWrong, 1));
  ProbeResult result = result_for(0);
  result.target_logprobs = {-1, -1, -1, NAN};
  const auto out = t->on_probe_result(result);
  REQUIRE(out.traced.size() == 1);
  CHECK(out.traced[0].rollout.failure.message == "probe: V_1 is not finite");
}

TEST_CASE("a likelihood probe without a gold answer is a failure, and nothing is asked") {
  const auto t = tracer(options(ProbeMode::kLikelihood));
  Rollout r = rollout(0, kRight, 1);
  r.prompt.gold_tokens.clear();
  const auto out = t->on_rollout(r);
  CHECK(out.probes.empty());
  REQUIRE(out.traced.size() == 1);
  CHECK(out.traced[0].rollout.failure.failure_class == FailureClass::kProbe);
  CHECK(out.releases == Releases{{3, 100}});
}

TEST_CASE("evaluation is never probed and waits for nobody") {
  const auto t = tracer(options(ProbeMode::kLikelihood));
  (void)t->on_rollout(rollout(0, kRight));  // a training group of the same key
  Rollout r = rollout(1, kRight);
  r.purpose = Purpose::kEval;
  const auto out = t->on_rollout(r);
  CHECK(out.probes.empty());
  REQUIRE(out.traced.size() == 1);
  CHECK(out.traced[0].reward == 1);
  CHECK(out.releases == Releases{{3, 101}});
  CHECK(t->sizes().waiting_rollouts == 1);
}

TEST_CASE("a dropped attempt gives back every lease it holds and is not heard of again") {
  const auto t = tracer(options(ProbeMode::kLikelihood));
  (void)t->on_rollout(rollout(0, kRight));
  (void)t->on_rollout(rollout(1, kWrong));  // both are probed now
  Rollout next = rollout(0, kRight);
  next.key.attempt = 2;
  next.lease = 7;
  (void)t->on_rollout(next);
  const auto out = t->drop({40, 1});
  CHECK(out.releases == Releases{{3, 100}, {3, 101}});
  CHECK(out.traced.empty());
  CHECK(is_empty(t->on_probe_result(result_for(0))));
  CHECK(t->sizes().open_groups == 1);  // the newer attempt
  CHECK(is_empty(t->drop({40, 1})));
}

TEST_CASE("a sample that comes twice is ignored but for its lease") {
  const auto t = tracer(options(ProbeMode::kLikelihood));
  (void)t->on_rollout(rollout(0, kRight));
  Rollout again = rollout(0, kWrong);
  again.lease = 55;
  const auto out = t->on_rollout(again);
  CHECK(out.releases == Releases{{3, 55}});
  CHECK(out.traced.empty());
  CHECK(t->sizes().waiting_rollouts == 1);
}

TEST_CASE("a probe text that the vocabulary cannot spell is refused when the tracer is made") {
  TracerOptions o = options(ProbeMode::kLikelihood);
  o.probe.probe_text = "answer: ";
  const auto made = Tracer::make(o, digits());
  REQUIRE_FALSE(made.ok());
  CHECK_THAT(made.error().message, Catch::Contains("probe text: the vocabulary has no symbol"));
  o.probe.probe_text = "";
  o.probe.mode = ProbeMode::kVerbal;
  CHECK_FALSE(Tracer::make(o, digits()).ok());
  o.probe.mode = ProbeMode::kAnswer;  // the reasoning goes on
  CHECK(Tracer::make(o, digits()).ok());
}

}  // namespace
}  // namespace tracewise
