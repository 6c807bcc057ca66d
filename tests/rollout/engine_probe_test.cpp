// Probes in the engine: on a rollout's live cache, after its lease expired, and of strange tokens.
#include <catch2/catch.hpp>

#include "tests/rollout/small_engine.hpp"

using namespace tracewise;
using namespace tracewise::testing;

TEST_CASE(
    "probes on the live cache equal scoring each prefix from scratch, before and after expiry") {
  for (const bool expired : {false, true}) {
    auto e = engine(options());
    e->submit(task(3, 2));
    auto rollouts = drain(*e);
    const Rollout& r = rollouts.at({3, 1});
    const auto prompt = static_cast<int32_t>(r.prompt.tokens.size());
    const std::vector<int32_t> ends = {prompt, prompt + 2, prompt + 3};
    REQUIRE(r.tokens.size() >= 3);
    const auto now = Clock::time_point{} + std::chrono::milliseconds(expired ? 60000 : 0);
    e->step(now);
    e->probe(score_request(r, ends));
    std::vector<ProbeResult> probes;
    drain(*e, &probes, now);
    REQUIRE(probes.size() == 1);
    CHECK(probes[0].prefilled_again == expired);
    CHECK_FALSE(probes[0].failure.failed());
    for (size_t k = 0; k < ends.size(); ++k) {
      std::vector<int32_t> text = whole(r);
      text.resize(ends[k]);
      for (int32_t t : {3, 4, 5, 6, 7}) text.push_back(t);
      const auto expected = scored(text);
      for (size_t i = 0; i < 3; ++i)
        CHECK(probes[0].target_logprobs[k * 3 + i] ==
              Approx(expected[expected.size() - 3 + i]).margin(1e-5));
    }
    // A live probe computes its tails alone: 3 boundaries x (2 probe + 2 read target tokens).
    if (!expired) CHECK(probes[0].probe_tokens == 12);
  }
}

TEST_CASE("tokens from elsewhere are probed like a rollout, by prefilling them, until released") {
  auto e = engine(options());
  e->submit(task(3, 1));
  auto rollouts = drain(*e);
  const Rollout& r = rollouts.at({3, 0});
  REQUIRE(r.tokens.size() >= 3);
  const std::vector<int32_t> ends = {9, 10, 12};
  e->probe(score_request(r, ends));
  std::vector<ProbeResult> probes;
  drain(*e, &probes);

  auto fresh = engine(options());
  Rollout stranger = r;
  stranger.lease = fresh->adopt(whole(r));
  // Long after any lease of the engine's own rollouts would have been forgotten.
  const auto now = Clock::time_point{} + std::chrono::hours(1);
  fresh->step(now);
  fresh->probe(score_request(stranger, ends));
  drain(*fresh, &probes, now);
  REQUIRE(probes.size() == 2);
  CHECK_FALSE(probes[1].failure.failed());
  CHECK(probes[1].prefilled_again);
  CHECK(probes[1].probe_tokens == 12 + 12);  // the longest prefix, and tails
  REQUIRE(probes[1].target_logprobs.size() == 9);
  for (size_t i = 0; i < 9; ++i)
    CHECK(probes[1].target_logprobs[i] == Approx(probes[0].target_logprobs[i]).margin(1e-5));

  CHECK(fresh->stats().free_blocks == fresh->stats().total_blocks);
  fresh->release(stranger.lease);
  fresh->probe(score_request(stranger, ends));
  drain(*fresh, &probes, now);
  REQUIRE(probes.size() == 3);
  CHECK(probes[2].failure.failed());
}

TEST_CASE("a probe without probe text predicts its target from the prefix's last token") {
  auto e = engine(options());
  e->submit(task(3, 1));
  auto rollouts = drain(*e);
  const Rollout& r = rollouts.at({3, 0});
  ProbeRequest request = score_request(r, {static_cast<int32_t>(r.prompt.tokens.size())});
  request.probe_tokens.clear();
  e->probe(request);
  std::vector<ProbeResult> probes;
  drain(*e, &probes);
  std::vector<int32_t> text = r.prompt.tokens;
  for (int32_t t : {5, 6, 7}) text.push_back(t);
  const auto expected = scored(text);
  for (size_t i = 0; i < 3; ++i)
    CHECK(probes.at(0).target_logprobs[i] ==
          Approx(expected[expected.size() - 3 + i]).margin(1e-5));
}

TEST_CASE("sampled probe answers come for every boundary and repeat for the same seed") {
  std::vector<std::vector<std::vector<int32_t>>> runs;
  for (int run = 0; run < 2; ++run) {
    auto e = engine(options());
    e->submit(task(3, 1));
    if (run == 1) e->submit(task(4, 3));
    auto rollouts = drain(*e);
    const Rollout& r = rollouts.at({3, 0});
    ProbeRequest request = score_request(r, {9, 10});
    request.kind = ProbeKind::kGenerate;
    request.continuations = 4;
    request.sampling.max_new_tokens = 5;
    e->probe(request);
    std::vector<ProbeResult> probes;
    drain(*e, &probes);
    REQUIRE(probes.size() == 1);
    REQUIRE(probes[0].continuations.size() == 8);
    for (const auto& c : probes[0].continuations) {
      CHECK(c.size() >= 1);
      CHECK(c.size() <= 5);
      if (c.size() < 5) CHECK(c.back() == kStop);
    }
    CHECK(probes[0].continuations[0] != probes[0].continuations[1]);
    runs.push_back(probes[0].continuations);
    e->release(r.lease);
  }
  CHECK(runs[0] == runs[1]);
}

TEST_CASE("a probe of an unknown lease or of bad boundaries fails with a reason") {
  auto e = engine(options());
  e->submit(task(3, 1));
  auto rollouts = drain(*e);
  const Rollout& r = rollouts.at({3, 0});
  ProbeRequest unknown = score_request(r, {9});
  unknown.lease = 999;
  e->probe(unknown);
  e->probe(score_request(r, {10, 10}));
  e->probe(score_request(r, {9, 1000}));
  std::vector<ProbeResult> probes;
  drain(*e, &probes);
  REQUIRE(probes.size() == 3);
  CHECK(probes[0].failure.message.find("999") != std::string::npos);
  for (const ProbeResult& p : probes) CHECK(p.failure.failure_class == FailureClass::kProbe);
}
