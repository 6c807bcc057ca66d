// The engine on a small random model: what it promises about batching, blocks, leases and probes.
#include <c10/core/GradMode.h>
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>

#include "model/logprobs.hpp"
#include "model/tokenizer.hpp"
#include "rollout/engine.hpp"
#include "rollout/forward_pass.hpp"
#include "tests/temp_dir.hpp"
#include "tests/tiny_model.hpp"

using namespace tracewise;
using namespace tracewise::testing;

namespace {

constexpr int32_t kStop = 0;

EngineOptions options() {
  EngineOptions o;
  o.seed = 42;
  o.stop_tokens = {kStop};
  o.max_sequences = 64;
  return o;
}

std::unique_ptr<Engine> engine(const EngineOptions& o, uint32_t weights_seed = 1) {
  auto made = make_engine(o, tiny_model(), random_weights(tiny_model(), weights_seed), nullptr);
  REQUIRE(made.ok());
  return std::move(*made);
}

GroupTask task(uint64_t group, uint32_t samples, int64_t prompt = 9, int32_t max_new = 40) {
  GroupTask t;
  t.key.group = group;
  t.samples = samples;
  t.sampling.max_new_tokens = max_new;
  t.prompt.tokens = random_tokens(prompt, 100 + static_cast<uint32_t>(group));
  return t;
}

using SampleKey = std::pair<uint64_t, uint32_t>;

// Steps until nothing comes any more; rollouts by (group, sample), probes appended to `probes`.
std::map<SampleKey, Rollout> drain(Engine& e, std::vector<ProbeResult>* probes = nullptr,
                                   Clock::time_point now = {}) {
  std::map<SampleKey, Rollout> rollouts;
  for (int idle = 0; idle < 2;) {
    EngineOutput out = e.step(now);
    const EngineStats stats = e.stats();
    idle = stats.waiting + stats.running == 0 ? idle + 1 : 0;
    for (Rollout& r : out.rollouts) {
      const SampleKey key{r.key.group, r.sample};
      REQUIRE(rollouts.emplace(key, std::move(r)).second);
    }
    if (probes != nullptr)
      for (ProbeResult& p : out.probes) probes->push_back(std::move(p));
  }
  return rollouts;
}

std::vector<int32_t> whole(const Rollout& r) {
  std::vector<int32_t> tokens = r.prompt.tokens;
  tokens.insert(tokens.end(), r.tokens.begin(), r.tokens.end());
  return tokens;
}

std::vector<float> scored(const std::vector<int32_t>& tokens) {
  Decoder decoder(tiny_model(), Decoder::Mode::kInference, at::kCPU);
  REQUIRE(decoder.load(*random_weights(tiny_model(), 1)).ok());
  const std::vector<std::vector<int32_t>> one = {tokens};
  return score_sequences(decoder, one, 4096)[0];
}

ProbeRequest score_request(const Rollout& r, std::vector<int32_t> ends) {
  ProbeRequest request;
  request.key = r.key;
  request.sample = r.sample;
  request.lease = r.lease;
  request.prefix_ends = std::move(ends);
  request.probe_tokens = {3, 4};
  request.target_tokens = {5, 6, 7};
  return request;
}

}  // namespace

TEST_CASE("a sample's tokens and log-probabilities do not depend on its batch companions") {
  auto alone = engine(options());
  alone->submit(task(7, 4));
  const auto expected = drain(*alone);

  auto crowded_options = options();
  crowded_options.max_batch_tokens = 13;  // prefill in chunks
  crowded_options.max_sequences = 6;
  auto crowded = engine(crowded_options);
  for (uint64_t g = 0; g < 9; ++g)
    crowded->submit(g == 7 ? task(7, 4) : task(g, 4, 5 + static_cast<int64_t>(g) * 3));
  const auto all = drain(*crowded);
  CHECK(all.size() == 36);

  auto mixed = engine(options());
  for (uint64_t g : {1, 2, 3}) mixed->submit(task(g, 5));
  for (int i = 0; i < 4; ++i) mixed->step({});  // enters while the others decode
  mixed->submit(task(7, 4));
  const auto late = drain(*mixed);
  for (const auto* companions : {&all, &late}) {
    for (uint32_t s = 0; s < 4; ++s) {
      const Rollout& want = expected.at({7, s});
      const Rollout& got = companions->at({7, s});
      CHECK(got.tokens == want.tokens);
      CHECK(got.logprobs == want.logprobs);
      CHECK(got.policy_logprobs == want.policy_logprobs);
    }
  }
}

TEST_CASE("log-probabilities are the bits of a packed pass over the finished rollout") {
  auto e = engine(options());
  e->submit(task(3, 3));
  for (const auto& [key, r] : drain(*e)) {
    const auto expected = scored(whole(r));
    const size_t first = r.prompt.tokens.size() - 1;
    for (size_t t = 0; t < r.tokens.size(); ++t) {
      CHECK(r.policy_logprobs[t] == expected[first + t]);
      CHECK(r.logprobs[t] == Approx(expected[first + t]).margin(1e-5));
    }
  }
}

TEST_CASE("with a temperature and top-k, log-probabilities tell the sampled from the policy's") {
  auto e = engine(options());
  auto tempered = task(3, 3);
  tempered.sampling.temperature = 0.7f;
  tempered.sampling.top_k = 4;
  e->submit(tempered);
  for (const auto& [key, r] : drain(*e)) {
    const std::vector<int32_t> text = whole(r);
    const auto policy = scored(text);
    const size_t prompt = r.prompt.tokens.size();
    for (size_t t = 0; t < r.tokens.size(); ++t) {
      CHECK(r.policy_logprobs[t] == Approx(policy[prompt - 1 + t]).margin(1e-5));
      // The policy's log-probability of every token at this place.
      std::vector<double> all;
      for (int32_t token = 0; token < tiny_model().vocab_size; ++token) {
        std::vector<int32_t> other(text.begin(), text.begin() + static_cast<ptrdiff_t>(prompt + t));
        other.push_back(token);
        all.push_back(static_cast<double>(scored(other).back()) / 0.7);
      }
      const double chosen = all[r.tokens[t]];
      std::sort(all.rbegin(), all.rend());
      double kept = 0;  // what the four likeliest weigh
      for (size_t i = 0; i < 4; ++i) kept += std::exp(all[i]);
      CHECK(chosen >= all[3]);
      CHECK(r.logprobs[t] == Approx(chosen - std::log(kept)).margin(1e-4));
    }
  }
}

TEST_CASE("a cache too small for all recomputes the youngest and loses nothing") {
  auto wide = engine(options());
  auto narrow_options = options();
  narrow_options.kv_blocks = 9;  // one whole context and a block
  auto narrow = engine(narrow_options);
  for (uint64_t g = 0; g < 5; ++g) {
    wide->submit(task(g, 3));
    narrow->submit(task(g, 3));
  }
  const auto expected = drain(*wide);
  std::map<SampleKey, Rollout> got;
  while (got.size() < 15) {
    for (Rollout& r : narrow->step({}).rollouts) {
      narrow->release(r.lease);
      got.emplace(SampleKey{r.key.group, r.sample}, r);
    }
  }
  CHECK(narrow->stats().preemptions > 0);
  for (const auto& [key, r] : expected) CHECK(got.at(key).tokens == r.tokens);
  CHECK(narrow->stats().free_blocks == 9);
}

TEST_CASE("samples longer than a pass take turns in a cache that holds one of them") {
  auto roomy_options = options();
  roomy_options.stop_tokens = {};  // all go on to 100 + 26 tokens
  auto roomy = engine(roomy_options);
  auto narrow_options = roomy_options;
  narrow_options.kv_blocks = 8;
  // From 113 tokens on one sample fills the cache, and it takes two passes to prefill: the second
  // leaves 47 tokens or fewer to a sibling, which must not take the blocks of the first.
  narrow_options.max_batch_tokens = 80;
  auto narrow = engine(narrow_options);
  const auto long_task = task(2, 4, 100, 26);
  roomy->submit(long_task);
  narrow->submit(long_task);
  const auto expected = drain(*roomy);
  std::map<SampleKey, Rollout> got;
  for (int step = 0; step < 2000 && got.size() < 4; ++step) {
    for (Rollout& r : narrow->step({}).rollouts) {
      narrow->release(r.lease);
      got.emplace(SampleKey{r.key.group, r.sample}, r);
    }
  }
  CHECK(narrow->stats().preemptions > 0);
  REQUIRE(got.size() == 4);
  for (const auto& [key, r] : expected) CHECK(got.at(key).tokens == r.tokens);
}

TEST_CASE("a container's memory limit counts where it is smaller than the machine") {
  const TempDir dir;
  const auto usable = [&](const std::string& limit) {
    std::ofstream(dir.path() / "memory.max") << limit;
    return usable_memory(1000, {dir.path() / "absent", dir.path() / "memory.max"});
  };
  CHECK(usable("max\n") == 1000);
  CHECK(usable("400\n") == 400);
  CHECK(usable("9223372036854771712\n") == 1000);
  CHECK(usable("") == 1000);
}

TEST_CASE("released leases give every block back") {
  auto e = engine(options());
  for (uint64_t g = 0; g < 4; ++g) e->submit(task(g, 3));
  const auto rollouts = drain(*e);
  CHECK(e->stats().leased == 12);
  for (const auto& [key, r] : rollouts) e->release(r.lease);
  CHECK(e->stats().leased == 0);
  CHECK(e->stats().free_blocks == e->stats().total_blocks);
}

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
  CHECK(probes[1].probe_tokens == 9 + 10 + 12 + 12);  // prefixes and tails
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

TEST_CASE("a prompt that fills the context fails all its samples and nothing else") {
  auto e = engine(options());
  e->submit(task(1, 2, 128));
  e->submit(task(2, 2));
  const auto rollouts = drain(*e);
  for (uint32_t s : {0u, 1u}) {
    CHECK(rollouts.at({1, s}).failure.failure_class == FailureClass::kPromptTooLong);
    CHECK_FALSE(rollouts.at({2, s}).failure.failed());
  }
}

TEST_CASE("a cancelled group comes back cancelled, with its blocks") {
  auto e = engine(options());
  e->submit(task(1, 2));
  e->submit(task(2, 2));
  e->step({});
  e->cancel(task(1, 2).key);
  const auto rollouts = drain(*e);
  CHECK(rollouts.at({1, 0}).finish == FinishReason::kCancelled);
  CHECK(rollouts.at({1, 1}).failure.failure_class == FailureClass::kCancelled);
  CHECK_FALSE(rollouts.at({2, 0}).failure.failed());
  for (const auto& [key, r] : rollouts) e->release(r.lease);
  CHECK(e->stats().free_blocks == e->stats().total_blocks);
}

TEST_CASE("weights swap between two steps and every token names the version that sampled it") {
  auto e = engine(options());
  GroupTask t = task(1, 1, 9, 20);
  e->submit(t);
  for (int i = 0; i < 3; ++i) e->step({});
  REQUIRE(e->set_weights(random_weights(tiny_model(), 2, 5)).ok());
  auto rollouts = drain(*e);
  const Rollout& r = rollouts.at({1, 0});
  REQUIRE(r.tokens.size() > 3);
  for (size_t i = 0; i < r.versions.size(); ++i) CHECK(r.versions[i] == (i < 3 ? 0u : 5u));
}

TEST_CASE("greedy decoding takes the likeliest token with log-probability 0") {
  auto e = engine(options());
  GroupTask t = task(1, 1, 9, 10);
  t.sampling.temperature = 0;
  e->submit(t);
  auto rollouts = drain(*e);
  const Rollout& r = rollouts.at({1, 0});
  Decoder decoder(tiny_model(), Decoder::Mode::kInference, at::kCPU);
  REQUIRE(decoder.load(*random_weights(tiny_model(), 1)).ok());
  c10::NoGradGuard no_gradient;
  PackedTokens packed;
  packed.append(whole(r), static_cast<int64_t>(r.prompt.tokens.size()));
  const at::Tensor best = predict(decoder, packed).argmax(-1);
  for (size_t i = 0; i < r.tokens.size(); ++i) {
    CHECK(best[static_cast<int64_t>(i)].item<int64_t>() == r.tokens[i]);
    CHECK(r.logprobs[i] == 0.0f);
  }
}

TEST_CASE("a stop string ends a response at the token that completes it") {
  std::vector<std::string> symbols;
  for (int i = 0; i < 29; ++i)
    symbols.push_back(std::string(1, static_cast<char>('a' + i % 26)) + std::to_string(i));
  auto tokenizer = make_symbol_tokenizer(symbols, {}, -1);
  REQUIRE(tokenizer.ok());
  EngineOptions free_options = options();
  free_options.stop_tokens.clear();
  auto e = engine(free_options);
  e->submit(task(1, 1, 9, 12));
  const std::vector<int32_t> tokens = drain(*e).at({1, 0}).tokens;
  // The end of token 4 and the beginning of token 5: the string crosses a token boundary.
  const std::string stop = symbols[tokens[4]].substr(1) + symbols[tokens[5]].substr(0, 1);
  EngineOptions stopping = free_options;
  stopping.stop_strings = {stop};
  auto made =
      make_engine(stopping, tiny_model(), random_weights(tiny_model(), 1), tokenizer->get());
  REQUIRE(made.ok());
  (*made)->submit(task(1, 1, 9, 12));
  const auto stopped = drain(**made).at({1, 0});
  CHECK(stopped.finish == FinishReason::kStop);
  CHECK(stopped.tokens.size() <= 6);
  const std::string text = (*tokenizer)->decode(stopped.tokens, false);
  CHECK(text.find(stop) != std::string::npos);
}
