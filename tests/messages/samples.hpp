// One filled-in record of each type; no two of its numbers are equal, so that a swapped field
// shows.
#pragma once

#include <tuple>

#include "messages/records.hpp"

namespace tracewise::samples {

inline Hello hello() {
  return {7, "b1d5", "run-9", "c0ffee", "generator-0", Channel::kWeights, "10.0.0.7", 4001};
}
inline HelloReply hello_reply() { return {true, "as agreed", 8, "b1d6", "head", true}; }

inline Prompt prompt() {
  return {"row-7", {1, 14, 16, 300000}, "27", {6, 11}, "3 * 9", "math", "{\"level\": 4}"};
}
inline GroupKey key() { return {41, 2}; }
inline SamplingParams sampling() { return {0.7f, 20, 0.95f, 0.05f, 64}; }
inline Failure failure() { return {FailureClass::kVerifierTimeout, "took \xff 5.1 s"}; }

inline Route route() { return {13, 33, 34}; }

inline GroupTask group_task() {
  return {key(), route(), Purpose::kEval, 8, 16, sampling(), prompt()};
}

inline Rollout rollout() {
  Rollout r;
  r.key = key();
  r.purpose = Purpose::kEval;
  r.sample = 3;
  r.group_samples = 5;
  r.prompt = prompt();
  r.tokens = {9, 8, 7};
  r.logprobs = {-0.5f, -1.25f, -0.0f};
  r.policy_logprobs = {-0.75f, -2.5f, -3e-7f};
  r.versions = {10, 11, uint64_t{1} << 60};
  r.finish = FinishReason::kLength;
  r.lease = 12;
  r.route = route();
  r.generate_seconds = 0.125;
  return r;
}

inline ProbeRequest probe_request() {
  return {key(), 33, 3, 12, ProbeKind::kGenerate, {4, 5, 7}, {21, 22}, {6, 11}, 4, sampling()};
}

inline ProbeResult probe_result() {
  return {key(), 33, 3, 12, {-0.5f, -1.5f}, {{6}, {}, {6, 11}}, 14, 15, true, 0.25, failure()};
}

inline TracedRollout traced_rollout() {
  return {rollout(), {1, 3}, {0.25f, 0.75f}, 1.0f, 17, 0.375, true, -0.25f};
}

inline AdvantageRollout advantage_rollout() {
  return {3, {1, 14, 9, 8}, 2, {-0.5f, -1.25f}, {10, 11}, {0.5f, -1.5f}};
}

inline StepPair step_pair() { return {{1, 14}, {9, 8}, {7}, 0.5f}; }

inline GroupStats group_stats() {
  return {1, 2, 3.5, 4, 5, 6, 7, 8, 9, 10, 11, 12.5, 13, 14, 15.5, 16.5, 17, 18.5};
}

inline SampleGroup sample_group() {
  return {key(), 9, {advantage_rollout(), {}}, {step_pair()}, group_stats()};
}

inline GroupFailed group_failed() { return {key(), failure()}; }
inline Metric metric() { return {"train/accuracy", 0.875}; }
inline Commit commit() { return {5, 6, {key(), {43, 0}}, {metric(), {"train/lr", 6e-4}}}; }
inline TensorEntry tensor_entry() { return {"model.norm.weight", {3, 2}, 64, 24}; }

inline WeightsManifest weights_manifest() {
  return {6,
          2,
          "F32",
          88,
          0x0123456789abcdefu,
          0xfedcba9876543210u,
          {{"lm_head.weight", {4, 4}, 0, 64}, tensor_entry()}};
}

inline WeightsPlace weights_place() {
  return {"head", "10.0.0.1", 4000, "b007-1-1000", 77, 9, 40, {11, UINT64_MAX, 13}};
}
inline WeightsReady weights_ready() {
  return {weights_manifest(), weights_place(), {{"rank1", "10.0.0.2", 4001, "", 0, -1, 0, {}}}};
}
inline WeightsPull weights_pull() { return {6, 2, 88, 0x0123456789abcdefu, 99, 2, 40, 1500}; }
inline WeightsShare weights_share() { return {"rank1", 48}; }
inline WeightsDelivered weights_delivered() {
  return {6, 2, 1, 0.5, "tcp", {{"head", 40}, weights_share()}};
}

// One of each, in travel order.
inline auto all() {
  return std::make_tuple(hello(), hello_reply(), prompt(), sampling(), key(), route(), group_task(),
                         failure(), rollout(), probe_request(), probe_result(), traced_rollout(),
                         advantage_rollout(), step_pair(), group_stats(), sample_group(),
                         group_failed(), metric(), commit(), tensor_entry(), weights_manifest(),
                         weights_place(), weights_ready(), weights_pull(), weights_share(),
                         weights_delivered());
}

}  // namespace tracewise::samples
