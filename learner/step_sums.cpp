#include "learner/step_sums.hpp"

#include <algorithm>
#include <string>

namespace tracewise {

void StepSums::add_balance(std::span<const int64_t> rank_tokens) {
  double total = 0;
  for (const int64_t tokens : rank_tokens) total += static_cast<double>(tokens);
  busiest_tokens += static_cast<double>(*std::ranges::max_element(rank_tokens));
  mean_tokens += total / static_cast<double>(rank_tokens.size());
}

std::vector<double> StepSums::numbers() const {
  std::vector<double> numbers(std::begin(policy), std::end(policy));
  numbers.insert(numbers.end(), {entropy, pair_loss, static_cast<double>(tokens),
                                 static_cast<double>(pairs), ratio_max, gap_max, exchange_seconds});
  return numbers;
}

void StepSums::merge(std::span<const double> all) {
  const size_t count = numbers().size();
  ranks = static_cast<int64_t>(all.size() / count);
  std::vector<double> sum(count, 0), most(count, 0);
  for (size_t i = 0; i < all.size(); ++i) {
    sum[i % count] += all[i];
    most[i % count] = std::max(most[i % count], all[i]);
  }
  std::copy_n(sum.begin(), PolicyLoss::kSums, policy);
  const double* s = sum.data() + PolicyLoss::kSums;
  const double* m = most.data() + PolicyLoss::kSums;
  entropy = s[0];
  pair_loss = s[1];
  tokens = static_cast<int64_t>(s[2]);
  pairs = static_cast<int64_t>(s[3]);
  ratio_max = m[4];
  gap_max = m[5];
  exchange_seconds = s[6] / static_cast<double>(ranks);
}

TrainReport StepSums::report(const LossOptions& options, int64_t optimizer_steps) const {
  TrainReport report;
  report.trained_tokens = static_cast<uint64_t>(tokens);
  report.skipped_updates = static_cast<uint64_t>(skipped);
  const auto add = [&](const char* name, double value) {
    report.metrics.push_back({std::string("train/") + name, value});
  };
  add("trained_tokens", static_cast<double>(tokens));
  add("skipped_updates", static_cast<double>(skipped));
  add("optimizer_steps", static_cast<double>(optimizer_steps));
  if (updates > 0) {
    add("loss", loss / static_cast<double>(updates));
    add("grad_norm", grad_norm / static_cast<double>(updates));
    add("lr", lr);
  }
  if (const double count = policy[PolicyLoss::kTokens]; count > 0) {
    add("ratio_mean", policy[PolicyLoss::kRatio] / count);
    add("ratio_max", ratio_max);
    add("clip_share", policy[PolicyLoss::kClipped] / count);
    add("entropy", entropy / count);
    add("logprob_gap_mean", policy[PolicyLoss::kGap] / count);
    add("logprob_gap_max_first_update", gap_max);
    if (options.kl_beta > 0) add("kl", policy[PolicyLoss::kKl] / count);
    if (options.importance_cap > 0) {
      const double importance = policy[PolicyLoss::kImportance];
      add("importance_mean", importance / count);
      add("effective_sample_share",
          importance * importance / (count * policy[PolicyLoss::kImportanceSquared]));
    }
  }
  if (pairs > 0) {
    add("step_pairs", static_cast<double>(pairs));
    add("step_dpo_loss", pair_loss / static_cast<double>(std::max<int64_t>(updates, 1)));
  }
  if (ranks > 1) {
    add("exchange_seconds", exchange_seconds);
    if (mean_tokens > 0) add("rank_token_balance", busiest_tokens / mean_tokens);
  }
  return report;
}

}  // namespace tracewise
