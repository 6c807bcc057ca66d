#include "messages/group_size.hpp"

#include <algorithm>

namespace tracewise {
namespace {

constexpr double kToken = 4, kFloat = 4;
constexpr double kVarint = 5;  // of up to 35 bits
// Keys, lengths and the fields that a record has once.
constexpr double kOnce = 1024;

// A prompt's text, gold answer and metadata: a traced rollout has them.
constexpr double kRowTexts = kMaxRowTextBytes;

// Of a response token: its id, its log-probability, its version, its advantage.
constexpr double kTrainedToken = kToken + kFloat + kVarint + kFloat;
// Likewise, with the log-probability without filters, and a step of its own with its value.
constexpr double kTracedToken = kToken + kFloat + kFloat + kVarint + kVarint + kFloat;

// The largest n in [0, most] for which `fits` holds, which it does up to some n.
template <class Fits>
int64_t largest(int64_t most, Fits fits) {
  int64_t low = 0, high = most;
  while (low < high) {
    const int64_t middle = high - (high - low) / 2;
    if (fits(middle)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

bool fits(const GroupShape& shape) {
  return largest_group_bytes(shape) <= static_cast<double>(kMaxGroupBytes);
}

}  // namespace

double largest_rollout_bytes(const GroupShape& shape) {
  return kOnce + kRowTexts + kToken * static_cast<double>(shape.prompt_tokens) +
         kTracedToken * static_cast<double>(shape.response_tokens);
}

double largest_group_bytes(const GroupShape& shape) {
  const auto prompt = static_cast<double>(shape.prompt_tokens);
  const auto response = static_cast<double>(shape.response_tokens);
  const double rollout = kOnce + kToken * prompt + kTrainedToken * response;
  // Prefix and chosen step are of one rollout, the rejected step of another.
  const double pair = kOnce + kToken * (prompt + 2 * response);
  return kOnce + static_cast<double>(shape.rollouts) * rollout +
         static_cast<double>(shape.pairs) * pair;
}

int64_t rollouts_that_fit(GroupShape shape) {
  return largest(shape.rollouts, [&](int64_t rollouts) {
    shape.rollouts = rollouts;
    return fits(shape);
  });
}

int64_t response_tokens_that_fit(GroupShape shape) {
  return largest(shape.response_tokens, [&](int64_t tokens) {
    shape.response_tokens = tokens;
    return fits(shape);
  });
}

}  // namespace tracewise
