#include "messages/validate.hpp"

#include <catch2/catch.hpp>
#include <limits>

#include "messages/codec.hpp"
#include "tests/messages/samples.hpp"

namespace tracewise {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

// What a reader says to `record`; empty: nothing.
template <class R>
std::string refusal(const R& record) {
  const auto result = validate(record);
  // The wire refuses what validate() refuses.
  R out;
  const auto bytes = encode(record);
  REQUIRE(bytes.ok());
  CHECK(decode(*bytes, out).ok() == result.ok());
  if (result.ok()) return "";
  CHECK(result.error().error_class == ErrorClass::kCorrupt);
  return result.error().message;
}

// refusal() of a sample after `change`.
template <class R, class F>
std::string refused(R record, F change) {
  CHECK(refusal(record).empty());
  change(record);
  return refusal(record);
}

}  // namespace

TEST_CASE("per-token arrays of another length than the response are refused") {
  using samples::rollout;
  CHECK(refused(rollout(), [](Rollout& r) { r.logprobs.pop_back(); }) ==
        "Rollout.logprobs: has 2 entries for 3 tokens");
  CHECK(refused(rollout(), [](Rollout& r) { r.policy_logprobs.push_back(0); }) ==
        "Rollout.policy_logprobs: has 4 entries for 3 tokens");
  CHECK(refused(rollout(), [](Rollout& r) { r.versions.clear(); }) ==
        "Rollout.versions: has 0 entries for 3 tokens");
  CHECK(refused(samples::advantage_rollout(), [](AdvantageRollout& r) { r.prompt_tokens = 3; }) ==
        "AdvantageRollout.logprobs: has 2 entries for 1 tokens");
  CHECK(refused(samples::advantage_rollout(), [](AdvantageRollout& r) { r.prompt_tokens = 5; }) ==
        "AdvantageRollout.prompt_tokens: is 5 of 4 tokens");
  CHECK(refused(samples::advantage_rollout(), [](AdvantageRollout& r) {
          r.advantages.pop_back();
        }) == "AdvantageRollout.advantages: has 1 entries for 2 tokens");
}

TEST_CASE("numbers that would poison training are refused") {
  CHECK(refused(samples::rollout(), [](Rollout& r) { r.logprobs[1] = kNan; }) ==
        "Rollout.logprobs: entry 1 is nan, not a finite number");
  CHECK(refused(samples::rollout(), [](Rollout& r) { r.policy_logprobs[2] = -kInf; }) ==
        "Rollout.policy_logprobs: entry 2 is -inf, not a finite number");
  CHECK(refused(samples::advantage_rollout(), [](AdvantageRollout& r) {
          r.advantages[0] = kInf;
        }) == "AdvantageRollout.advantages: entry 0 is inf, not a finite number");
  CHECK(refused(samples::traced_rollout(), [](TracedRollout& r) { r.reward = kNan; }) ==
        "TracedRollout.reward: is nan, not a finite number");
  CHECK(refused(samples::traced_rollout(), [](TracedRollout& r) { r.shaping = kInf; }) ==
        "TracedRollout.shaping: is inf, not a finite number");
  CHECK(refused(samples::traced_rollout(), [](TracedRollout& r) { r.values[1] = kNan; }) ==
        "TracedRollout.values: V_1 is nan, it must be in [0, 1]");
  CHECK(refused(samples::step_pair(), [](StepPair& r) { r.margin = kNan; }) ==
        "StepPair.margin: is nan, it must be above 0");
  CHECK(refused(samples::group_stats(), [](GroupStats& r) { r.brier_sum = kNan; }) ==
        "GroupStats.brier_sum: is nan, not a finite number");
  CHECK(refused(samples::probe_result(), [](ProbeResult& r) { r.target_logprobs[0] = kNan; }) ==
        "ProbeResult.target_logprobs: entry 0 is nan, not a finite number");
}

TEST_CASE("steps that don't ascend to the end of the response are refused") {
  using samples::traced_rollout;
  CHECK(refused(traced_rollout(), [](TracedRollout& r) {
          r.step_ends = {3, 3};
        }) == "TracedRollout.step_ends: entry 1 is 3, it must be at least 4");
  CHECK(refused(traced_rollout(), [](TracedRollout& r) {
          r.step_ends = {0, 3};
        }) == "TracedRollout.step_ends: entry 0 is 0, it must be at least 1");
  CHECK(refused(traced_rollout(), [](TracedRollout& r) {
          r.step_ends = {1, 2};
        }) == "TracedRollout.step_ends: ends at 2, the response at 3");
  CHECK(refused(traced_rollout(), [](TracedRollout& r) { r.step_ends.clear(); }) ==
        "TracedRollout.step_ends: ends at 0, the response at 3");
  CHECK(refused(samples::probe_request(), [](ProbeRequest& r) {
          r.prefix_ends = {7, 5};
        }) == "ProbeRequest.prefix_ends: entry 1 is 5, it must be at least 8");
}

TEST_CASE("values number one for each step or none at all") {
  using samples::traced_rollout;
  CHECK(refused(traced_rollout(), [](TracedRollout& r) { r.values.pop_back(); }) ==
        "TracedRollout.values: has 1 entries for 2 steps");
  CHECK(refused(traced_rollout(), [](TracedRollout& r) { r.values.clear(); }).empty());
}

TEST_CASE("each of many numbers is looked at, and the largest there is is finite") {
  constexpr float kLargest = std::numeric_limits<float>::max();
  for (size_t length = 1; length <= 40; ++length) {
    ProbeResult result;
    result.target_logprobs.assign(length, -kLargest);
    CHECK(validate(result).ok());
    result.target_logprobs.back() = -std::numeric_limits<float>::infinity();
    CHECK(validate(result).error().message == "ProbeResult.target_logprobs: entry " +
                                                  std::to_string(length - 1) +
                                                  " is -inf, not a finite number");
    Prompt prompt;
    prompt.tokens.assign(length, std::numeric_limits<int32_t>::max());
    CHECK(validate(prompt).ok());
    prompt.tokens.back() = -1;
    CHECK(validate(prompt).error().message == "Prompt.tokens: token " + std::to_string(length - 1) +
                                                  " is -1, token ids are not negative");
  }
}

TEST_CASE("a failed rollout may lack steps and carry any finite reward") {
  TracedRollout r = samples::traced_rollout();
  r.rollout.failure = samples::failure();
  r.step_ends.clear();
  r.values.clear();
  r.reward = -1;
  CHECK(refusal(r).empty());
  r.rollout.failure = {};
  CHECK_FALSE(refusal(r).empty());
}

TEST_CASE("a reward or value outside [0, 1] is refused") {
  CHECK(refused(samples::traced_rollout(), [](TracedRollout& r) { r.reward = 1.5f; }) ==
        "TracedRollout.reward: is 1.500000, it must be in [0, 1]");
  CHECK(refused(samples::traced_rollout(), [](TracedRollout& r) { r.values[0] = -0.5f; }) ==
        "TracedRollout.values: V_0 is -0.500000, it must be in [0, 1]");
}

TEST_CASE("token ids below zero are refused wherever they stand") {
  CHECK(refused(samples::prompt(), [](Prompt& r) { r.tokens[2] = -1; }) ==
        "Prompt.tokens: token 2 is -1, token ids are not negative");
  CHECK(refused(samples::rollout(), [](Rollout& r) { r.tokens[0] = -5; }) ==
        "Rollout.tokens: token 0 is -5, token ids are not negative");
  CHECK_FALSE(
      refused(samples::step_pair(), [](StepPair& r) { r.rejected[0] = INT32_MIN; }).empty());
  CHECK_FALSE(
      refused(samples::probe_result(), [](ProbeResult& r) { r.continuations[2][1] = -1; }).empty());
}

TEST_CASE("sampling parameters outside their ranges are refused") {
  using samples::sampling;
  CHECK(refused(sampling(), [](SamplingParams& r) { r.temperature = -0.5f; }) ==
        "SamplingParams.temperature: is -0.500000, it must be at least 0");
  CHECK(refused(sampling(), [](SamplingParams& r) { r.top_p = 0; }) ==
        "SamplingParams.top_p: is 0.000000, it must be in (0, 1]");
  CHECK(refused(sampling(), [](SamplingParams& r) { r.min_p = 1; }) ==
        "SamplingParams.min_p: is 1.000000, it must be in [0, 1)");
  CHECK(refused(sampling(), [](SamplingParams& r) { r.top_k = -1; }) ==
        "SamplingParams.top_k: is -1, it must be at least 0");
  CHECK(refused(sampling(), [](SamplingParams& r) { r.max_new_tokens = 0; }) ==
        "SamplingParams.max_new_tokens: is 0, it must be at least 1");
}

TEST_CASE("counts that must be at least one are") {
  CHECK(refused(samples::group_task(), [](GroupTask& r) { r.samples = 0; }) ==
        "GroupTask.samples: is 0, it must be at least 1");
  CHECK(refused(samples::rollout(), [](Rollout& r) { r.sample = 5; }) ==
        "Rollout.sample: is 5 in a group of 5");
  CHECK(refused(samples::probe_request(), [](ProbeRequest& r) { r.continuations = 0; }) ==
        "ProbeRequest.continuations: is 0, it must be at least 1");
  CHECK(refused(samples::probe_request(), [](ProbeRequest& r) {
          r.kind = ProbeKind::kScore;
          r.target_tokens.clear();
        }) == "ProbeRequest.target_tokens: is empty, there is nothing to score");
  CHECK(refused(samples::step_pair(), [](StepPair& r) { r.chosen.clear(); }) ==
        "StepPair: one of its steps is empty");
}

TEST_CASE("a tensor must lie inside its buffer and fill its shape") {
  using samples::weights_manifest;
  CHECK(refused(weights_manifest(), [](WeightsManifest& r) { r.bytes = 87; }) ==
        "WeightsManifest.tensors: 'model.norm.weight' ends at byte 88 of a buffer of 87");
  CHECK(refused(weights_manifest(), [](WeightsManifest& r) { r.dtype = "BF16"; }) ==
        "WeightsManifest.tensors: 'lm_head.weight' has 64 bytes, its shape needs 32");
  CHECK(refused(weights_manifest(), [](WeightsManifest& r) { r.dtype = "F8"; }) ==
        "WeightsManifest.dtype: is 'F8', it must be F32 or BF16");
  CHECK(refused(weights_manifest(), [](WeightsManifest& r) {
          r.tensors[0].shape = {INT64_MAX, 4};
        }) == "WeightsManifest.tensors: the shape of 'lm_head.weight' overflows");
  CHECK(refused(weights_manifest(), [](WeightsManifest& r) { r.tensors[1].offset = UINT64_MAX; }) ==
        "TensorEntry.offset: of 'model.norm.weight' plus its bytes exceeds 64 bits");
  CHECK(refused(samples::tensor_entry(), [](TensorEntry& r) { r.shape[0] = -3; }) ==
        "TensorEntry.shape: of 'model.norm.weight' holds -3, sizes are not negative");
}

TEST_CASE("a place of weights names a segment whole or not at all") {
  using samples::weights_place;
  CHECK(refused(weights_place(), [](WeightsPlace& r) { r.fd = -1; }) ==
        "WeightsPlace.fd: is -1 of process 77, both name a segment or neither does (-1 and 0)");
  CHECK_FALSE(refused(weights_place(), [](WeightsPlace& r) { r.pid = 0; }).empty());
  CHECK_FALSE(refused(weights_place(), [](WeightsPlace& r) { r.pid = -77; }).empty());
  CHECK_FALSE(refused(weights_place(), [](WeightsPlace& r) { r.port = 65536; }).empty());
  CHECK_FALSE(refused(weights_place(), [](WeightsPlace& r) { r.host = "a\nb"; }).empty());
  CHECK(refused(weights_place(), [](WeightsPlace& r) { r = {}; }).empty());
  CHECK(refused(weights_place(), [](WeightsPlace& r) { r.chunk_bytes = kMaxChunkBytes + 1; }) ==
        "WeightsPlace.chunk_bytes: is 67108865, above 67108864");
}

TEST_CASE("weights of several places state each chunk, and no other") {
  using samples::weights_ready;  // 3 chunks of 40 bytes, in a buffer of 88
  CHECK(refused(weights_ready(), [](WeightsReady& r) { r.place.chunk_checksums.pop_back(); }) ==
        "WeightsPlace.chunk_checksums: has 2 entries for 3 chunks");
  CHECK(refused(weights_ready(), [](WeightsReady& r) { r.place.chunk_bytes = 0; }) ==
        "WeightsPlace.chunk_checksums: has 3 entries for 0 chunks");
  CHECK(refused(weights_ready(), [](WeightsReady& r) {
          r.place.chunk_bytes = 0;
          r.place.chunk_checksums.clear();
        }) == "WeightsReady.others: names other places, but what they must give is not stated");
  CHECK_FALSE(refused(weights_ready(), [](WeightsReady& r) { r.others[0].port = 65536; }).empty());
}

TEST_CASE("a pulled chunk lies inside its buffer") {
  using samples::weights_pull;  // chunk 2 of 40 bytes each, in a buffer of 88
  CHECK(refused(weights_pull(), [](WeightsPull& r) { r.chunk = 3; }) ==
        "WeightsPull.chunk: is 3 of 3 in a buffer of 88 bytes");
  CHECK(refused(weights_pull(), [](WeightsPull& r) { r.chunk_bytes = 44; }) ==
        "WeightsPull.chunk: is 2 of 2 in a buffer of 88 bytes");
  CHECK(refused(weights_pull(), [](WeightsPull& r) { r.chunk_bytes = 0; }) ==
        "WeightsPull.chunk_bytes: is 0, it must be in [1, 67108864]");
  CHECK_FALSE(refused(weights_pull(), [](WeightsPull& r) {
                r.chunk = 0;
                r.chunk_bytes = kMaxChunkBytes + 1;
              }).empty());
}

TEST_CASE("a hello's texts are printable lines of bounded length, its port a port") {
  using samples::hello;
  CHECK(refused(hello(), [](Hello& r) { r.build = "a\nb"; }) ==
        "Hello.build: byte 1 is 10, not printable ASCII");
  CHECK(refused(hello(), [](Hello& r) { r.run = "\xff"; }) ==
        "Hello.run: byte 0 is 255, not printable ASCII");
  CHECK(refused(hello(), [](Hello& r) { r.config_hash.assign(257, 'c'); }) ==
        "Hello.config_hash: has 257 bytes, the limit is 256");
  CHECK(refused(hello(), [](Hello& r) { r.address.assign(256, 'a'); }).empty());
  CHECK(refused(hello(), [](Hello& r) { r.port = 65536; }) == "Hello.port: is 65536, above 65535");
  CHECK(refused(hello(), [](Hello& r) { r.node = "a b"; }) ==
        "Hello.node: is no node name: 1 to 64 letters, digits, '.', '-' and '_'");
}

TEST_CASE("a refused hello has a reason") {
  CHECK(refused(samples::hello_reply(), [](HelloReply& r) {
          r.accepted = false;
          r.reason.clear();
        }) == "HelloReply.reason: is empty, a refusal has one");
  CHECK(refused(samples::hello_reply(), [](HelloReply& r) { r.reason.clear(); }).empty());
  CHECK_FALSE(refused(samples::hello_reply(), [](HelloReply& r) { r.node.clear(); }).empty());
}

TEST_CASE("node names are 1 to 64 letters, digits, dots, dashes and underscores") {
  CHECK(is_node_name("generator-0.rack_B"));
  CHECK(is_node_name(std::string(64, 'n')));
  CHECK_FALSE(is_node_name(std::string(65, 'n')));
  CHECK_FALSE(is_node_name(""));
  CHECK_FALSE(is_node_name("a/b"));
  CHECK_FALSE(is_node_name(std::string("a\0b", 3)));
}

}  // namespace tracewise
