// What rollouts and groups of them take as messages, so that a config whose groups could not be
// sent is refused before anything starts.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tracewise {

// A SampleGroup travels as a whole, and is the one record that may exceed kMaxMessageBytes
// (codec.hpp): 64 rollouts of 32,768 tokens are 36 MB.
inline constexpr size_t kMaxGroupBytes = size_t{64} << 20;

// Of a Prompt: its texts together. Dataset rows with more are refused.
inline constexpr size_t kMaxRowTextBytes = size_t{256} << 10;

struct GroupShape {
  int64_t rollouts = 0;
  int64_t prompt_tokens = 0;    // of each, at most
  int64_t response_tokens = 0;  // likewise
  int64_t pairs = 0;            // StepPairs, at most
};

// Bytes of a TracedRollout and of a SampleGroup at most, for versions below 2^35. As
// floating point, because a config may ask for more than any integer holds.
double largest_rollout_bytes(const GroupShape& shape);
double largest_group_bytes(const GroupShape& shape);

// With how many rollouts, or response tokens, a group of this shape fits kMaxGroupBytes; 0: with
// none.
int64_t rollouts_that_fit(GroupShape shape);
int64_t response_tokens_that_fit(GroupShape shape);

}  // namespace tracewise
