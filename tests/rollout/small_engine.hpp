// An engine on a small random model, what to submit to it, and what its answers should be.
#pragma once

#include <catch2/catch.hpp>

#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "model/logprobs.hpp"
#include "rollout/engine.hpp"
#include "tests/tiny_model.hpp"

namespace tracewise::testing {

inline constexpr int32_t kStop = 0;

inline EngineOptions options() {
  EngineOptions o;
  o.seed = 42;
  o.stop_tokens = {kStop};
  o.max_sequences = 64;
  return o;
}

inline std::unique_ptr<Engine> engine(const EngineOptions& o, uint32_t weights_seed = 1) {
  auto made = make_engine(o, tiny_model(), random_weights(tiny_model(), weights_seed), nullptr);
  REQUIRE(made.ok());
  return std::move(*made);
}

inline GroupTask task(uint64_t group, uint32_t samples, int64_t prompt = 9, int32_t max_new = 40) {
  GroupTask t;
  t.key.group = group;
  t.samples = samples;
  t.sampling.max_new_tokens = max_new;
  t.prompt.tokens = random_tokens(prompt, 100 + static_cast<uint32_t>(group));
  return t;
}

// A probe of the rollout's lease: two probe tokens and three target tokens behind each prefix.
inline ProbeRequest score_request(const Rollout& r, std::vector<int32_t> ends) {
  ProbeRequest request;
  request.key = r.key;
  request.sample = r.sample;
  request.lease = r.lease;
  request.prefix_ends = std::move(ends);
  request.probe_tokens = {3, 4};
  request.target_tokens = {5, 6, 7};
  return request;
}

using SampleKey = std::pair<uint64_t, uint32_t>;

// Steps until nothing comes any more; rollouts by (group, sample), probes appended to `probes`.
inline std::map<SampleKey, Rollout> drain(Engine& e, std::vector<ProbeResult>* probes = nullptr,
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

inline std::vector<int32_t> whole(const Rollout& r) {
  std::vector<int32_t> tokens = r.prompt.tokens;
  tokens.insert(tokens.end(), r.tokens.begin(), r.tokens.end());
  return tokens;
}

inline std::vector<float> scored(const std::vector<int32_t>& tokens, uint32_t weights_seed = 1) {
  Decoder decoder(tiny_model(), Decoder::Mode::kInference, at::kCPU);
  REQUIRE(decoder.load(random_weights(tiny_model(), weights_seed)).ok());
  const std::vector<std::vector<int32_t>> one = {tokens};
  return score_sequences(decoder, one, 4096)[0];
}

}  // namespace tracewise::testing
