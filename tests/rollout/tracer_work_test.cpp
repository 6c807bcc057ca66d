// A tracer whose verdicts come from elsewhere, and are waited for in other threads.
#include <catch2/catch.hpp>
#include <thread>

#include "model/tokenizer.hpp"
#include "rollout/tracer.hpp"
#include "tests/rollout/http_server.hpp"

namespace tracewise {
namespace {

using Ids = std::vector<int32_t>;
using Releases = std::vector<std::pair<uint32_t, uint64_t>>;

// <bos> 0, <eos> 1, newline 2, then the digits.
const Tokenizer& digits() {
  static const auto tokenizer = std::move(*make_symbol_tokenizer(
      {"<bos>", "<eos>", "\n", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}, {0, 1}, 0));
  return *tokenizer;
}

// "1\n2<eos>", of a group of two.
Rollout rollout(uint32_t sample) {
  Rollout r;
  r.key = {40, 1};
  r.sample = sample;
  r.group_samples = 2;
  r.prompt = {"q", {0, 5}, "2", {5}};
  r.tokens = {4, 2, 5, 1};
  r.logprobs.assign(4, -0.5f);
  r.policy_logprobs = r.logprobs;
  r.versions.assign(4, 9);
  r.lease = 100 + sample;
  r.route = {3, 2, 0};
  return r;
}

// An endpoint that finds everything right, and a tracer that asks it.
struct Bench {
  explicit Bench(ProbeMode mode) {
    TracerOptions options;
    options.steps.delimiters = {"\n"};
    options.verifier = {.kind = VerifierKind::kHttp, .url = server.url(), .calls = 3};
    options.probe.mode = mode;
    options.probe.probe_text = "";
    tracer = std::move(*Tracer::make(options, digits()));
  }

  // As a shell does: the work in another thread, its end in this one.
  Tracer::Output finish(TracerOutput::Work work) {
    TracerOutput::Done done;
    std::thread([&] { done = work.run(); }).join();
    return done(*tracer);
  }

  HttpServer server{[](const std::string&, const std::string&) {
    return HttpServer::reply("200 OK", R"({"reward": 1})");
  }};
  std::unique_ptr<Tracer> tracer;
};

}  // namespace

TEST_CASE("a group is decided on when the last verdict is there, not the last rollout") {
  Bench bench(ProbeMode::kLikelihood);
  CHECK(bench.tracer->limits().calls == 3);
  auto first = bench.tracer->on_rollout(rollout(0));
  auto second = bench.tracer->on_rollout(rollout(1));
  REQUIRE(first.work.size() == 1);
  REQUIRE(second.work.size() == 1);
  CHECK(second.work[0].sample == 1);
  CHECK(bench.server.requests() == 0);
  CHECK(bench.finish(second.work[0]).probes.empty());
  const auto out = bench.finish(first.work[0]);
  REQUIRE(out.probes.size() == 2);
  CHECK(out.probes[0].second.prefix_ends == Ids{2, 4});
  CHECK(bench.server.requests() == 2);
}

TEST_CASE("without probing a rollout gives its lease back before its verdict is there") {
  Bench bench(ProbeMode::kNone);
  auto arrived = bench.tracer->on_rollout(rollout(0));
  CHECK(arrived.releases == Releases{{3, 100}});
  CHECK(arrived.traced.empty());
  REQUIRE(arrived.work.size() == 1);
  const auto out = bench.finish(arrived.work[0]);
  REQUIRE(out.traced.size() == 1);
  CHECK(out.traced[0].reward == 1.0f);
}

TEST_CASE("a verdict for a dropped attempt gives the lease back and is not heard of") {
  Bench bench(ProbeMode::kLikelihood);
  auto arrived = bench.tracer->on_rollout(rollout(0));
  CHECK(bench.tracer->drop({40, 1}).releases.empty());
  const auto out = bench.finish(arrived.work.at(0));
  CHECK(out.traced.empty());
  CHECK(out.releases == Releases{{3, 100}});
  CHECK(bench.tracer->sizes().open_groups == 0);
}

TEST_CASE("continuations are verified in other threads too") {
  Bench bench(ProbeMode::kAnswer);
  Rollout alone = rollout(0);
  alone.group_samples = 1;
  auto arrived = bench.tracer->on_rollout(std::move(alone));
  const auto asked = bench.finish(arrived.work.at(0));
  REQUIRE(asked.probes.size() == 1);
  ProbeResult result;
  result.key = {40, 1};
  result.version = 9;
  result.continuations = {{5}, {6}};
  auto answered = bench.tracer->on_probe_result(result);
  CHECK(answered.traced.empty());
  const auto out = bench.finish(answered.work.at(0));
  REQUIRE(out.traced.size() == 1);
  CHECK(out.traced[0].values == std::vector<float>{1.0f, 1.0f});
  CHECK(out.releases == Releases{{3, 100}});
  CHECK(bench.server.requests() == 3);
}

TEST_CASE("after an abort verdicts fail at once") {
  Bench bench(ProbeMode::kNone);
  auto arrived = bench.tracer->on_rollout(rollout(0));
  bench.tracer->abort();
  const auto out = bench.finish(arrived.work.at(0));
  CHECK(out.traced.at(0).rollout.failure.failure_class == FailureClass::kVerifierError);
  CHECK(bench.server.requests() == 0);
}

}  // namespace tracewise
