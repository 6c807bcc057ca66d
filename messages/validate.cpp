#include "messages/validate.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

namespace tracewise {
namespace {

using std::to_string;

Error broken(std::string_view place, const std::string& what) {
  return corrupt(std::string(place) + ": " + what);
}

Result<void> check_tokens(std::string_view place, std::span<const int32_t> tokens) {
  int32_t signs = 0;
  for (const int32_t token : tokens) signs |= token;
  if (signs >= 0) return {};
  const auto found = std::ranges::find_if(tokens, [](int32_t token) { return token < 0; });
  return broken(place, "token " + to_string(found - tokens.begin()) + " is " + to_string(*found) +
                           ", token ids are not negative");
}

Result<void> check_length(std::string_view place, size_t length, size_t wanted,
                          std::string_view what) {
  if (length == wanted) return {};
  return broken(place, "has " + to_string(length) + " entries for " + to_string(wanted) + " " +
                           std::string(what));
}

Result<void> check_finite(std::string_view place, std::span<const float> numbers) {
  // A number is not finite if its exponent is all ones: then adding one to that carries into the
  // sign's bit. Without branches or comparisons the compiler looks at several numbers at a time.
  constexpr uint32_t kExponent = 0x7f80'0000, kExponentOne = 0x0080'0000, kSign = 0x8000'0000;
  uint32_t carries = 0;
  for (const float number : numbers)
    carries |= (std::bit_cast<uint32_t>(number) & kExponent) + kExponentOne;
  if ((carries & kSign) == 0) return {};
  const auto found = std::ranges::find_if(numbers, [](float x) { return !std::isfinite(x); });
  return broken(place, "entry " + to_string(found - numbers.begin()) + " is " + to_string(*found) +
                           ", not a finite number");
}

Result<void> check_finite(std::string_view place, double number) {
  if (std::isfinite(number)) return {};
  return broken(place, "is " + to_string(number) + ", not a finite number");
}

// Strictly ascending from at least `first`.
Result<void> check_ascending(std::string_view place, std::span<const int32_t> ends, int32_t first) {
  int64_t least = first;
  for (size_t i = 0; i < ends.size(); ++i) {
    if (ends[i] < least) {
      return broken(place, "entry " + to_string(i) + " is " + to_string(ends[i]) +
                               ", it must be at least " + to_string(least));
    }
    least = int64_t{ends[i]} + 1;
  }
  return {};
}

Result<void> check_per_token(std::string_view place, std::span<const float> numbers,
                             size_t tokens) {
  TW_TRY(check_length(place, numbers.size(), tokens, "tokens"));
  return check_finite(place, numbers);
}

bool in_unit(float x) { return x >= 0.0f && x <= 1.0f; }

uint64_t dtype_bytes(std::string_view dtype) {
  if (dtype == "F32") return 4;
  if (dtype == "BF16") return 2;
  return 0;
}

// Text of another node that ends up in our logs: one printable line of bounded length.
Result<void> check_line(std::string_view place, std::string_view text, size_t max_bytes) {
  if (text.size() > max_bytes) {
    return broken(place,
                  "has " + to_string(text.size()) + " bytes, the limit is " + to_string(max_bytes));
  }
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] < ' ' || text[i] > '~') {
      return broken(place, "byte " + to_string(i) + " is " +
                               to_string(static_cast<unsigned char>(text[i])) +
                               ", not printable ASCII");
    }
  }
  return {};
}

Result<void> check_node(std::string_view place, std::string_view name) {
  if (is_node_name(name)) return {};
  return broken(place, "is no node name: 1 to 64 letters, digits, '.', '-' and '_'");
}

uint64_t chunk_count(uint64_t bytes, uint64_t chunk_bytes) {
  return chunk_bytes == 0 ? 0 : bytes / chunk_bytes + (bytes % chunk_bytes != 0 ? 1 : 0);
}

constexpr size_t kMaxWordBytes = 256;
constexpr size_t kMaxReasonBytes = 2048;  // a sentence that quotes words of both sides

}  // namespace

bool is_node_name(std::string_view name) {
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
  return !name.empty() && name.size() <= 64 &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

Result<void> validate(const Hello& r) {
  TW_TRY(check_line("Hello.build", r.build, kMaxWordBytes));
  TW_TRY(check_line("Hello.run", r.run, kMaxWordBytes));
  TW_TRY(check_line("Hello.config_hash", r.config_hash, kMaxWordBytes));
  TW_TRY(check_node("Hello.node", r.node));
  TW_TRY(check_line("Hello.address", r.address, kMaxWordBytes));
  if (r.port > 65535) return broken("Hello.port", "is " + to_string(r.port) + ", above 65535");
  return {};
}

Result<void> validate(const HelloReply& r) {
  TW_TRY(check_line("HelloReply.reason", r.reason, kMaxReasonBytes));
  if (!r.accepted && r.reason.empty()) {
    return broken("HelloReply.reason", "is empty, a refusal has one");
  }
  TW_TRY(check_line("HelloReply.build", r.build, kMaxWordBytes));
  return check_node("HelloReply.node", r.node);
}

Result<void> validate(const Prompt& r) {
  TW_TRY(check_tokens("Prompt.tokens", r.tokens));
  return check_tokens("Prompt.gold_tokens", r.gold_tokens);
}

Result<void> validate(const SamplingParams& r) {
  if (!std::isfinite(r.temperature) || r.temperature < 0) {
    return broken("SamplingParams.temperature",
                  "is " + to_string(r.temperature) + ", it must be at least 0");
  }
  if (r.top_k < 0) {
    return broken("SamplingParams.top_k", "is " + to_string(r.top_k) + ", it must be at least 0");
  }
  if (!(r.top_p > 0 && r.top_p <= 1)) {
    return broken("SamplingParams.top_p", "is " + to_string(r.top_p) + ", it must be in (0, 1]");
  }
  if (!(r.min_p >= 0 && r.min_p < 1)) {
    return broken("SamplingParams.min_p", "is " + to_string(r.min_p) + ", it must be in [0, 1)");
  }
  if (r.max_new_tokens < 1) {
    return broken("SamplingParams.max_new_tokens",
                  "is " + to_string(r.max_new_tokens) + ", it must be at least 1");
  }
  return {};
}

Result<void> validate(const GroupKey&) { return {}; }

Result<void> validate(const Route&) { return {}; }

Result<void> validate(const GroupTask& r) {
  if (r.samples < 1) return broken("GroupTask.samples", "is 0, it must be at least 1");
  TW_TRY(validate(r.sampling));
  return validate(r.prompt);
}

Result<void> validate(const Failure&) { return {}; }

Result<void> validate(const Rollout& r) {
  if (r.sample >= r.group_samples) {
    return broken("Rollout.sample",
                  "is " + to_string(r.sample) + " in a group of " + to_string(r.group_samples));
  }
  TW_TRY(validate(r.prompt));
  TW_TRY(check_tokens("Rollout.tokens", r.tokens));
  TW_TRY(check_per_token("Rollout.logprobs", r.logprobs, r.tokens.size()));
  TW_TRY(check_per_token("Rollout.policy_logprobs", r.policy_logprobs, r.tokens.size()));
  TW_TRY(check_length("Rollout.versions", r.versions.size(), r.tokens.size(), "tokens"));
  return check_finite("Rollout.generate_seconds", r.generate_seconds);
}

Result<void> validate(const ProbeRequest& r) {
  TW_TRY(check_ascending("ProbeRequest.prefix_ends", r.prefix_ends, 0));
  TW_TRY(check_tokens("ProbeRequest.probe_tokens", r.probe_tokens));
  TW_TRY(check_tokens("ProbeRequest.target_tokens", r.target_tokens));
  if (r.kind == ProbeKind::kScore && r.target_tokens.empty()) {
    return broken("ProbeRequest.target_tokens", "is empty, there is nothing to score");
  }
  if (r.continuations < 1) {
    return broken("ProbeRequest.continuations", "is 0, it must be at least 1");
  }
  return validate(r.sampling);
}

Result<void> validate(const ProbeResult& r) {
  TW_TRY(check_finite("ProbeResult.target_logprobs", r.target_logprobs));
  for (const auto& tokens : r.continuations) {
    TW_TRY(check_tokens("ProbeResult.continuations", tokens));
  }
  return check_finite("ProbeResult.probe_seconds", r.probe_seconds);
}

Result<void> validate(const TracedRollout& r) {
  TW_TRY(validate(r.rollout));
  TW_TRY(check_ascending("TracedRollout.step_ends", r.step_ends, 1));
  const size_t tokens = r.rollout.tokens.size();
  const bool failed = r.rollout.failure.failed();
  const size_t end = r.step_ends.empty() ? 0 : static_cast<size_t>(r.step_ends.back());
  if (end != tokens && !(failed && r.step_ends.empty())) {
    return broken("TracedRollout.step_ends",
                  "ends at " + to_string(end) + ", the response at " + to_string(tokens));
  }
  if (!r.values.empty()) {
    TW_TRY(check_length("TracedRollout.values", r.values.size(), r.step_ends.size(), "steps"));
  }
  for (size_t k = 0; k < r.values.size(); ++k) {
    if (!in_unit(r.values[k])) {
      return broken("TracedRollout.values", "V_" + to_string(k) + " is " + to_string(r.values[k]) +
                                                ", it must be in [0, 1]");
    }
  }
  TW_TRY(check_finite("TracedRollout.reward", r.reward));
  if (!failed && !in_unit(r.reward)) {
    return broken("TracedRollout.reward", "is " + to_string(r.reward) + ", it must be in [0, 1]");
  }
  TW_TRY(check_finite("TracedRollout.shaping", r.shaping));
  return check_finite("TracedRollout.probe_seconds", r.probe_seconds);
}

Result<void> validate(const AdvantageRollout& r) {
  TW_TRY(check_tokens("AdvantageRollout.tokens", r.tokens));
  if (r.prompt_tokens > r.tokens.size()) {
    return broken("AdvantageRollout.prompt_tokens", "is " + to_string(r.prompt_tokens) + " of " +
                                                        to_string(r.tokens.size()) + " tokens");
  }
  const size_t response = r.tokens.size() - r.prompt_tokens;
  TW_TRY(check_per_token("AdvantageRollout.logprobs", r.logprobs, response));
  TW_TRY(check_length("AdvantageRollout.versions", r.versions.size(), response, "tokens"));
  return check_per_token("AdvantageRollout.advantages", r.advantages, response);
}

Result<void> validate(const StepPair& r) {
  TW_TRY(check_tokens("StepPair.prefix", r.prefix));
  TW_TRY(check_tokens("StepPair.chosen", r.chosen));
  TW_TRY(check_tokens("StepPair.rejected", r.rejected));
  if (r.chosen.empty() || r.rejected.empty())
    return broken("StepPair", "one of its steps is empty");
  if (!std::isfinite(r.margin) || r.margin <= 0) {
    return broken("StepPair.margin", "is " + to_string(r.margin) + ", it must be above 0");
  }
  return {};
}

Result<void> validate(const GroupStats& r) {
  TW_TRY(check_finite("GroupStats.reward_sum", r.reward_sum));
  TW_TRY(check_finite("GroupStats.shaping_sum", r.shaping_sum));
  TW_TRY(check_finite("GroupStats.brier_sum", r.brier_sum));
  TW_TRY(check_finite("GroupStats.probe_seconds", r.probe_seconds));
  return check_finite("GroupStats.generate_seconds", r.generate_seconds);
}

Result<void> validate(const SampleGroup& r) {
  for (const auto& rollout : r.rollouts) TW_TRY(validate(rollout));
  for (const auto& pair : r.pairs) TW_TRY(validate(pair));
  return validate(r.stats);
}

Result<void> validate(const GroupFailed& r) { return validate(r.failure); }

Result<void> validate(const Metric&) { return {}; }

Result<void> validate(const Commit&) { return {}; }

Result<void> validate(const TensorEntry& r) {
  for (const int64_t size : r.shape) {
    if (size < 0) {
      return broken("TensorEntry.shape",
                    "of '" + r.name + "' holds " + to_string(size) + ", sizes are not negative");
    }
  }
  if (r.bytes > std::numeric_limits<uint64_t>::max() - r.offset) {
    return broken("TensorEntry.offset", "of '" + r.name + "' plus its bytes exceeds 64 bits");
  }
  return {};
}

Result<void> validate(const WeightsManifest& r) {
  if (r.tensors.empty()) return {};
  const uint64_t element_bytes = dtype_bytes(r.dtype);
  if (element_bytes == 0) {
    return broken("WeightsManifest.dtype", "is '" + r.dtype + "', it must be F32 or BF16");
  }
  for (const auto& tensor : r.tensors) {
    TW_TRY(validate(tensor));
    if (tensor.offset + tensor.bytes > r.bytes) {
      return broken("WeightsManifest.tensors", "'" + tensor.name + "' ends at byte " +
                                                   to_string(tensor.offset + tensor.bytes) +
                                                   " of a buffer of " + to_string(r.bytes));
    }
    uint64_t needed = element_bytes;
    for (const int64_t size : tensor.shape) {
      if (__builtin_mul_overflow(needed, static_cast<uint64_t>(size), &needed)) {
        return broken("WeightsManifest.tensors", "the shape of '" + tensor.name + "' overflows");
      }
    }
    if (needed != tensor.bytes) {
      return broken("WeightsManifest.tensors", "'" + tensor.name + "' has " +
                                                   to_string(tensor.bytes) +
                                                   " bytes, its shape needs " + to_string(needed));
    }
  }
  return {};
}

Result<void> validate(const WeightsPlace& r) {
  if (!r.node.empty()) TW_TRY(check_node("WeightsPlace.node", r.node));
  TW_TRY(check_line("WeightsPlace.host", r.host, kMaxWordBytes));
  if (r.port > 65535) {
    return broken("WeightsPlace.port", "is " + to_string(r.port) + ", above 65535");
  }
  TW_TRY(check_line("WeightsPlace.host_id", r.host_id, kMaxWordBytes));
  if (r.pid < 0 || r.fd < -1 || (r.pid == 0) != (r.fd == -1)) {
    return broken("WeightsPlace.fd", "is " + to_string(r.fd) + " of process " + to_string(r.pid) +
                                         ", both name a segment or neither does (-1 and 0)");
  }
  if (r.chunk_bytes > kMaxChunkBytes) {
    return broken("WeightsPlace.chunk_bytes",
                  "is " + to_string(r.chunk_bytes) + ", above " + to_string(kMaxChunkBytes));
  }
  return {};
}

Result<void> validate(const WeightsReady& r) {
  TW_TRY(validate(r.manifest));
  TW_TRY(validate(r.place));
  const uint64_t chunks = chunk_count(r.manifest.bytes, r.place.chunk_bytes);
  TW_TRY(check_length("WeightsPlace.chunk_checksums", r.place.chunk_checksums.size(), chunks,
                      "chunks"));
  if (!r.others.empty() && r.place.chunk_bytes == 0) {
    return broken("WeightsReady.others",
                  "names other places, but what they must give is not stated");
  }
  for (const WeightsPlace& other : r.others) TW_TRY(validate(other));
  return {};
}

Result<void> validate(const WeightsPull& r) {
  if (r.chunk_bytes < 1 || r.chunk_bytes > kMaxChunkBytes) {
    return broken("WeightsPull.chunk_bytes", "is " + to_string(r.chunk_bytes) +
                                                 ", it must be in [1, " +
                                                 to_string(kMaxChunkBytes) + "]");
  }
  const uint64_t chunks = chunk_count(r.bytes, r.chunk_bytes);
  if (r.chunk >= chunks) {
    return broken("WeightsPull.chunk", "is " + to_string(r.chunk) + " of " + to_string(chunks) +
                                           " in a buffer of " + to_string(r.bytes) + " bytes");
  }
  return {};
}

Result<void> validate(const WeightsShare& r) { return check_node("WeightsShare.node", r.node); }

Result<void> validate(const WeightsDelivered& r) {
  for (const WeightsShare& share : r.shares) TW_TRY(validate(share));
  TW_TRY(check_line("WeightsDelivered.transport", r.transport, kMaxWordBytes));
  return check_finite("WeightsDelivered.seconds", r.seconds);
}

}  // namespace tracewise
