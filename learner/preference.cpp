#include "learner/preference.hpp"

#include <algorithm>
#include <map>
#include <utility>

namespace tracewise {
namespace {

using Tokens = std::span<const int32_t>;

struct TokensLess {
  bool operator()(Tokens a, Tokens b) const {
    return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end());
  }
};

struct Gain {
  double sum = 0;
  int64_t count = 0;
  double mean() const { return sum / static_cast<double>(count); }
};

// One step of one rollout.
struct Cursor {
  const TracedRollout* traced;
  size_t step;  // 0-based
};

int32_t step_begin(const Cursor& c) { return c.step == 0 ? 0 : c.traced->step_ends[c.step - 1]; }

Tokens step_tokens(const Cursor& c) {
  const int32_t begin = step_begin(c);
  return Tokens(c.traced->rollout.tokens)
      .subspan(static_cast<size_t>(begin),
               static_cast<size_t>(c.traced->step_ends[c.step] - begin));
}

double step_gain(const Cursor& c) {
  const auto& values = c.traced->values;
  const double after = c.step + 1 < values.size() ? values[c.step + 1] : c.traced->reward;
  return after - values[c.step];
}

// The response's tokens before the step; the prompt is the same for all.
Tokens response_prefix(const Cursor& c) {
  return Tokens(c.traced->rollout.tokens).first(static_cast<size_t>(step_begin(c)));
}

std::vector<int32_t> step_prefix(const Cursor& c) {
  std::vector<int32_t> prefix = c.traced->rollout.prompt.tokens;
  const Tokens response = response_prefix(c);
  prefix.insert(prefix.end(), response.begin(), response.end());
  return prefix;
}

// Shorter prefixes first, which also keeps the comparison of long ones rare.
bool prefix_less(const Cursor& a, const Cursor& b) {
  if (step_begin(a) != step_begin(b)) return step_begin(a) < step_begin(b);
  return TokensLess()(response_prefix(a), response_prefix(b));
}

// Two different steps after the same prefix, before they are copied out.
struct Candidate {
  Cursor at;  // any step after the prefix
  Tokens chosen;
  Tokens rejected;
  double margin;
};

// All pairs among the steps of `branch`, which continue the same prefix.
void compare(std::span<const Cursor> branch, double min_margin, std::vector<Candidate>& out) {
  std::map<Tokens, Gain, TokensLess> steps;
  for (const Cursor& c : branch) {
    Gain& gain = steps[step_tokens(c)];
    gain.sum += step_gain(c);
    ++gain.count;
  }
  for (auto a = steps.begin(); a != steps.end(); ++a) {
    for (auto b = std::next(a); b != steps.end(); ++b) {
      const double margin = a->second.mean() - b->second.mean();
      if (margin >= min_margin) {
        out.push_back({branch.front(), a->first, b->first, margin});
      } else if (-margin >= min_margin) {
        out.push_back({branch.front(), b->first, a->first, -margin});
      }
    }
  }
}

bool better(const Candidate& a, const Candidate& b) {
  if (a.margin != b.margin) return a.margin > b.margin;
  if (step_begin(a.at) != step_begin(b.at)) return step_begin(a.at) < step_begin(b.at);
  const TokensLess less;
  if (!std::ranges::equal(a.chosen, b.chosen)) return less(a.chosen, b.chosen);
  if (!std::ranges::equal(a.rejected, b.rejected)) return less(a.rejected, b.rejected);
  return less(response_prefix(a.at), response_prefix(b.at));
}

}  // namespace

std::vector<StepPair> step_pairs(std::span<const TracedRollout> group,
                                 const PreferenceOptions& options) {
  if (options.max_pairs <= 0) return {};
  std::vector<Cursor> cursors;
  for (const TracedRollout& traced : group) {
    if (traced.rollout.failure.failed()) continue;
    for (size_t k = 0; k < traced.values.size(); ++k) cursors.push_back({&traced, k});
  }
  // By sample within a prefix: gains are summed in this order, not in that of arrival.
  std::ranges::sort(cursors, [](const Cursor& a, const Cursor& b) {
    if (prefix_less(a, b)) return true;
    if (prefix_less(b, a)) return false;
    return a.traced->rollout.sample < b.traced->rollout.sample;
  });
  std::vector<Candidate> candidates;
  for (size_t begin = 0, end = 0; begin < cursors.size(); begin = end) {
    while (end < cursors.size() && !prefix_less(cursors[begin], cursors[end])) ++end;
    compare(std::span(cursors).subspan(begin, end - begin), options.min_margin, candidates);
  }
  std::ranges::sort(candidates, better);
  if (candidates.size() > static_cast<size_t>(options.max_pairs)) {
    candidates.resize(static_cast<size_t>(options.max_pairs), candidates.front());
  }
  std::vector<StepPair> pairs;
  for (const Candidate& c : candidates) {
    pairs.push_back({step_prefix(c.at),
                     {c.chosen.begin(), c.chosen.end()},
                     {c.rejected.begin(), c.rejected.end()},
                     static_cast<float>(c.margin)});
  }
  return pairs;
}

}  // namespace tracewise
