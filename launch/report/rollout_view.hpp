// A traced rollout as the report shows it.
#pragma once

#include "launch/report/report.hpp"
#include "messages/records.hpp"
#include "model/tokenizer.hpp"

namespace tracewise {

// The value after the last step is the reward.
inline ReportRollout rollout_view(const std::string& title, const TracedRollout& traced,
                                  const Tokenizer& tokenizer) {
  const Rollout& r = traced.rollout;
  ReportRollout out{
      title, tokenizer.decode(r.prompt.tokens, true), r.prompt.gold, traced.reward, {}};
  const auto value = [&](size_t k) {
    return k < traced.values.size() ? std::optional<double>(traced.values[k]) : std::nullopt;
  };
  int32_t begin = 0;
  for (size_t k = 0; k < traced.step_ends.size(); ++k) {
    const int32_t end = traced.step_ends[k];
    const std::vector<int32_t> step(r.tokens.begin() + begin, r.tokens.begin() + end);
    const bool last = k + 1 == traced.step_ends.size();
    out.steps.push_back({tokenizer.decode(step, true), value(k),
                         last ? std::optional<double>(traced.reward) : value(k + 1)});
    begin = end;
  }
  return out;
}

}  // namespace tracewise
