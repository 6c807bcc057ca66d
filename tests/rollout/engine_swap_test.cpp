// New weights while rollouts are under way: what becomes of their tokens, caches and probes.
#include <catch2/catch.hpp>

#include <functional>
#include <thread>

#include "tests/rollout/small_engine.hpp"

using namespace tracewise;
using namespace tracewise::testing;

namespace {

constexpr uint32_t kOld = 1, kNew = 2;  // seeds of the weights

EngineOptions options_of(OnNewWeights mode) {
  EngineOptions o = options();
  o.on_new_weights = mode;
  return o;
}

void swap(Engine& e, uint64_t version = 5, uint32_t seed = kNew) {
  REQUIRE(e.set_weights(random_weights(tiny_model(), seed, version)).ok());
}

// Sample `s` of a group whose prompt is `r`'s with its first `tokens` tokens, by the new weights
// alone.
Rollout continued(const GroupTask& task, const Rollout& r, uint32_t s, size_t tokens) {
  auto fresh = engine(options(), kNew);
  GroupTask longer = task;
  const auto end = r.tokens.begin() + static_cast<ptrdiff_t>(tokens);
  longer.prompt.tokens.insert(longer.prompt.tokens.end(), r.tokens.begin(), end);
  longer.sampling.max_new_tokens -= static_cast<int32_t>(tokens);
  fresh->submit(longer);
  return drain(*fresh).at({task.key.group, s});
}

template <class T>
std::vector<T> tail(const std::vector<T>& all, size_t begin) {
  return {all.begin() + static_cast<ptrdiff_t>(begin), all.end()};
}

using Rollouts = std::map<SampleKey, Rollout>;

// One step; takes what has finished and releases its lease at once.
void step_into(Rollouts& got, Engine& e) {
  for (Rollout& r : e.step({}).rollouts) {
    e.release(r.lease);
    got.emplace(SampleKey{r.key.group, r.sample}, std::move(r));
  }
}

// Steps until `rollouts` have come.
Rollouts collect(Engine& e, size_t rollouts, Rollouts got = {}) {
  for (int i = 0; i < 3000 && got.size() < rollouts; ++i) step_into(got, e);
  REQUIRE(got.size() == rollouts);
  return got;
}

bool all_of_version(const Rollout& r, uint64_t version) {
  return r.versions == std::vector<uint64_t>(r.tokens.size(), version);
}

}  // namespace

TEST_CASE(
    "weights that another thread prepared beside decoding are those that are set, or ignored") {
  const GroupTask group = task(1, 3, 9, 30);
  const auto tokens_of = [&](const std::function<void(Engine&)>& prepare) {
    auto e = engine(options_of(OnNewWeights::kKeepCache));
    e->submit(group);
    Rollouts got;
    while (e->stats().sampled_tokens < 12) step_into(got, *e);
    prepare(*e);
    std::vector<std::vector<int32_t>> tokens;
    for (const auto& [key, rollout] : collect(*e, 3, std::move(got)))
      tokens.push_back(rollout.tokens);
    return tokens;
  };
  const auto wanted = tokens_of([](Engine& e) { swap(e); });
  const auto weights = random_weights(tiny_model(), kNew, 5);
  CHECK(tokens_of([&](Engine& e) {
          std::jthread other([&] { REQUIRE(e.prepare(weights).ok()); });
          other.join();
          REQUIRE(e.set_weights(weights).ok());
        }) == wanted);
  CHECK(tokens_of([&](Engine& e) {
          REQUIRE(e.prepare(random_weights(tiny_model(), 3, 6)).ok());
          REQUIRE(e.set_weights(weights).ok());
        }) == wanted);
  CHECK(tokens_of([&](Engine& e) { REQUIRE(e.prepare(weights).ok()); }) != wanted);
  ModelConfig other = tiny_model();
  other.mlp_width *= 2;
  CHECK(engine(options())->prepare(random_weights(other, 1)).error().error_class ==
        ErrorClass::kBadInput);
}

TEST_CASE("with recompute_cache a rollout goes on as if the new weights had read all of it") {
  const GroupTask group = task(1, 3, 9, 30);
  auto undisturbed = engine(options());
  undisturbed->submit(group);
  const auto before = drain(*undisturbed);

  EngineOptions o = options_of(OnNewWeights::kRecomputeCache);
  SECTION("in one pass") {}
  SECTION("in chunks of a small budget") { o.max_batch_tokens = 7; }
  SECTION("in a cache too small for all") { o.kv_blocks = 8; }
  auto e = engine(o);
  e->submit(group);
  Rollouts got;
  while (e->stats().sampled_tokens < 12) step_into(got, *e);
  swap(*e);
  CHECK(e->stats().recomputed_tokens > 0);
  got = collect(*e, 3, std::move(got));
  size_t compared = 0;
  for (uint32_t s = 0; s < 3; ++s) {
    const Rollout& r = got.at({1, s});
    const auto swapped = static_cast<size_t>(std::find(r.versions.begin(), r.versions.end(), 5u) -
                                             r.versions.begin());
    const Rollout& old = before.at({1, s});
    REQUIRE(old.tokens.size() >= swapped);
    for (size_t t = 0; t < swapped; ++t) {
      CHECK(r.tokens[t] == old.tokens[t]);
      CHECK(r.policy_logprobs[t] == old.policy_logprobs[t]);
      CHECK(r.versions[t] == 0);
    }
    if (swapped == r.tokens.size()) continue;
    const Rollout rest = continued(group, r, s, swapped);
    CHECK(tail(r.tokens, swapped) == rest.tokens);
    CHECK(tail(r.logprobs, swapped) == rest.logprobs);
    CHECK(tail(r.policy_logprobs, swapped) == rest.policy_logprobs);
    CHECK(tail(r.versions, swapped) == std::vector<uint64_t>(rest.tokens.size(), 5));
    compared += rest.tokens.size();
  }
  CHECK(compared >= 5);
  CHECK(e->stats().free_blocks == e->stats().total_blocks);
}

TEST_CASE("with keep_cache a rollout goes on from what the old weights left") {
  const GroupTask group = task(1, 1, 9, 20);
  auto e = engine(options_of(OnNewWeights::kKeepCache));
  e->submit(group);
  for (int i = 0; i < 3; ++i) e->step({});
  swap(*e);
  const Rollout r = collect(*e, 1).at({1, 0});
  REQUIRE(r.tokens.size() > 4);
  CHECK(e->stats().recomputed_tokens == 0);
  CHECK(r.policy_logprobs[3] != continued(group, r, 0, 3).policy_logprobs[0]);
}

TEST_CASE("whatever the mode, a prompt that was half computed is computed by one version") {
  const GroupTask group = task(1, 2, 40, 10);
  auto fresh = engine(options(), kNew);
  fresh->submit(group);
  const auto expected = drain(*fresh);
  const OnNewWeights mode = GENERATE(OnNewWeights::kKeepCache, OnNewWeights::kRecomputeCache);
  EngineOptions o = options_of(mode);
  o.max_batch_tokens = 13;
  auto e = engine(o);
  e->submit(group);
  e->step({});
  swap(*e);
  CHECK(e->stats().recomputed_tokens == 13);
  const auto got = collect(*e, 2);
  for (const auto& [key, r] : expected) {
    CHECK(got.at(key).tokens == r.tokens);
    CHECK(got.at(key).policy_logprobs == r.policy_logprobs);
    CHECK(all_of_version(got.at(key), 5));
  }
}

TEST_CASE("with finish_first every rollout is of one version, and nothing starts meanwhile") {
  EngineOptions plain = options();
  plain.stop_tokens.clear();  // nobody ends early
  EngineOptions o = plain;
  o.on_new_weights = OnNewWeights::kFinishFirst;
  SECTION("the others wait for a place") { o.max_sequences = 3; }
  SECTION("the others have a place, but no token of them is computed yet") {
    o.max_batch_tokens = 3;
  }
  SECTION("one at a time: siblings of a rollout count as started") { o.max_sequences = 1; }
  auto e = engine(o);
  e->submit(task(1, 3, 3, 20));
  Rollouts got;
  step_into(got, *e);
  e->submit(task(2, 2, 9, 20));
  step_into(got, *e);
  REQUIRE(got.empty());
  swap(*e, 5);
  e->submit(task(3, 2, 9, 20));
  swap(*e, 6, 3);  // replaces the ones that wait
  got = collect(*e, 7, std::move(got));
  auto old = engine(plain, kOld);
  old->submit(task(1, 3, 3, 20));
  auto newest = engine(plain, 3);
  newest->submit(task(2, 2, 9, 20));
  newest->submit(task(3, 2, 9, 20));
  auto expected = drain(*old);
  expected.merge(drain(*newest));
  for (const auto& [key, r] : expected) {
    const Rollout& mine = got.at(key);
    CHECK(all_of_version(mine, key.first == 1 ? 0 : 6));
    CHECK(mine.tokens == r.tokens);
    CHECK(mine.policy_logprobs == r.policy_logprobs);
  }
  CHECK(e->stats().swaps == 2);  // the first weights, and version 6
}

TEST_CASE("with finish_first a finished rollout is probed by its own weights before the swap") {
  auto e = engine(options_of(OnNewWeights::kFinishFirst));
  e->submit(task(3, 2));
  std::map<SampleKey, Rollout> rollouts;
  while (rollouts.size() < 2) {
    for (Rollout& r : e->step({}).rollouts) rollouts.emplace(SampleKey{3, r.sample}, r);
    if (rollouts.empty()) swap(*e);
  }
  e->submit(task(4, 1));
  CHECK(e->step({}).idle);  // leases are waited for
  const Rollout& r = rollouts.at({3, 1});
  e->probe(score_request(r, {9, 10}));
  std::vector<ProbeResult> probes;
  for (int i = 0; i < 10 && probes.empty(); ++i) probes = e->step({}).probes;
  REQUIRE(probes.size() == 1);
  CHECK(probes[0].version == 0);
  CHECK(probes[0].probe_tokens == 8);
  e->release(r.lease);
  CHECK(e->step({}).idle);
  SECTION("a release ends the wait") { e->release(rollouts.at({3, 0}).lease); }
  SECTION("so does the lease's end, if nobody ever asks") {
    const auto late = Clock::time_point{} + std::chrono::milliseconds(options().lease_ms);
    CHECK_FALSE(e->step(late).idle);
    CHECK(e->stats().expired_leases == 1);
  }
  CHECK(all_of_version(collect(*e, 1).at({4, 0}), 5));
}

TEST_CASE("with finish_first weights are used at once where nothing is under way") {
  auto e = engine(options_of(OnNewWeights::kFinishFirst));
  swap(*e);
  CHECK(e->stats().swaps == 2);
  e->submit(task(1, 1));
  CHECK(all_of_version(collect(*e, 1).at({1, 0}), 5));
}

TEST_CASE("with recompute_cache a finished rollout is probed by the new weights alone") {
  EngineOptions o = options_of(OnNewWeights::kRecomputeCache);
  bool half_done = false;
  SECTION("asked after the swap") {}
  SECTION("asked before it, and half done") {
    half_done = true;
    o.max_batch_tokens = 5;  // of 12 tokens
  }
  auto e = engine(o);
  e->submit(task(3, 2));
  auto rollouts = drain(*e);
  const Rollout& r = rollouts.at({3, 1});
  REQUIRE(r.tokens.size() >= 3);
  const std::vector<int32_t> ends = {9, 11, 12};
  if (half_done) {
    e->probe(score_request(r, ends));
    e->step({});
  }
  swap(*e);
  if (!half_done) e->probe(score_request(r, ends));
  std::vector<ProbeResult> probes;
  drain(*e, &probes);
  REQUIRE(probes.size() == 1);
  CHECK(probes[0].version == 5);
  CHECK(probes[0].prefilled_again);
  // The tokens up to the last boundary once, and three tails of four.
  CHECK(probes[0].probe_tokens == 12 + 12 + (half_done ? 5 : 0));
  for (size_t k = 0; k < ends.size(); ++k) {
    std::vector<int32_t> text = whole(r);
    text.resize(static_cast<size_t>(ends[k]));
    for (int32_t t : {3, 4, 5, 6, 7}) text.push_back(t);
    const auto expected = scored(text, kNew);
    for (size_t i = 0; i < 3; ++i)
      CHECK(probes[0].target_logprobs[k * 3 + i] == expected[expected.size() - 3 + i]);
  }
  e->release(r.lease);
  e->release(rollouts.at({3, 0}).lease);
  CHECK(e->stats().free_blocks == e->stats().total_blocks);
}

TEST_CASE("a probe whose lease is released before a recomputing swap fails, and is answered") {
  EngineOptions o = options_of(OnNewWeights::kRecomputeCache);
  o.max_batch_tokens = 5;
  auto e = engine(o);
  e->submit(task(3, 1));
  auto rollouts = drain(*e);
  const Rollout& r = rollouts.at({3, 0});
  e->probe(score_request(r, {9, 10}));
  e->step({});
  e->release(r.lease);
  swap(*e);
  const auto probes = e->step({}).probes;
  REQUIRE(probes.size() == 1);
  CHECK(probes[0].failure.failed());
  CHECK(e->stats().free_blocks == e->stats().total_blocks);
}

TEST_CASE("weights of another model are refused in every mode, and the old ones stay") {
  const auto mode =
      GENERATE(OnNewWeights::kKeepCache, OnNewWeights::kRecomputeCache, OnNewWeights::kFinishFirst);
  auto e = engine(options_of(mode));
  e->submit(task(1, 1));
  e->step({});
  ModelConfig other = tiny_model();
  other.vocab_size += 1;
  const auto refused = e->set_weights(random_weights(other, 2, 5));
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().error_class == ErrorClass::kBadInput);
  CHECK(all_of_version(collect(*e, 1).at({1, 0}), 0));
}
