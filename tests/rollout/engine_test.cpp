// The engine on a small random model: what it promises about batching, blocks and leases.
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
#include "tests/rollout/small_engine.hpp"
#include "tests/temp_dir.hpp"

using namespace tracewise;
using namespace tracewise::testing;

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
  REQUIRE(decoder.load(random_weights(tiny_model(), 1)).ok());
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
