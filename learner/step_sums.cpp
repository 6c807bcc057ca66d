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
  numbers.insert(numbers.end(), std::begin(first.sums), std::end(first.sums));
  numbers.insert(numbers.end(), std::begin(first.most), std::end(first.most));
  numbers.insert(numbers.end(), {entropy, pair_loss, static_cast<double>(tokens),
                                 static_cast<double>(pairs), ratio_max, exchange_seconds});
  return numbers;
}

void StepSums::merge(std::span<const double> all) {
  const size_t count = numbers().size();
  StepSums sum;
  const auto add = [&](std::span<const double> rank) {
    const double* x = rank.data();
    for (double& total : sum.policy) total += *x++;
    FirstPass pass;
    for (double& total : pass.sums) total = *x++;
    for (double& most : pass.most) most = *x++;
    sum.first.add(pass);
    sum.entropy += x[0];
    sum.pair_loss += x[1];
    sum.tokens += static_cast<int64_t>(x[2]);
    sum.pairs += static_cast<int64_t>(x[3]);
    sum.ratio_max = std::max(sum.ratio_max, x[4]);
    sum.exchange_seconds += x[5];
  };
  for (size_t i = 0; i < all.size(); i += count) add(all.subspan(i, count));
  std::copy_n(sum.policy, PolicyLoss::kSums, policy);
  first = sum.first;
  entropy = sum.entropy;
  pair_loss = sum.pair_loss;
  tokens = sum.tokens;
  pairs = sum.pairs;
  ratio_max = sum.ratio_max;
  ranks = static_cast<int64_t>(all.size() / count);
  exchange_seconds = sum.exchange_seconds / static_cast<double>(ranks);
}

TrainReport StepSums::report(const TrainerOptions& options, int64_t optimizer_steps) const {
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
    if (options.loss.kl_beta > 0) add("kl", policy[PolicyLoss::kKl] / count);
  }
  report_first_pass(options, report);
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

void StepSums::report_first_pass(const TrainerOptions& options, TrainReport& report) const {
  const double tokens_seen = first.sums[FirstPass::kTokens];
  if (tokens_seen == 0) return;
  const auto add = [&](const char* name, double value) {
    report.metrics.push_back({std::string("train/") + name, value});
  };
  const double weight = first.sums[FirstPass::kWeight];
  add("behaviour_ratio_mean", first.sums[FirstPass::kRatio] / tokens_seen);
  add("behaviour_ratio_max", first.most[FirstPass::kRatioMax]);
  if (options.loss.importance_cap > 0) add("importance_mean", weight / tokens_seen);
  add("effective_sample_share",
      weight * weight / (tokens_seen * first.sums[FirstPass::kWeightSquared]));
  add("logprob_gap_mean", first.sums[FirstPass::kGap] / tokens_seen);
  add("logprob_gap_max", first.most[FirstPass::kGapMax]);
  const double fresh = first.sums[FirstPass::kFreshTokens];
  if (fresh == 0) return;
  const double gap = first.sums[FirstPass::kFreshGap] / fresh;
  const double bound = options.logprob_gap_alarm;
  const bool alarm = bound > 0 && !(gap <= bound);  // also where it is no number
  add("fresh_logprob_gap_mean", gap);
  add("fresh_logprob_gap_max", first.most[FirstPass::kFreshGapMax]);
  add("logprob_gap_alarm", alarm ? 1 : 0);
  if (!alarm) return;
  report.warnings.push_back(
      "on " + std::to_string(static_cast<int64_t>(fresh)) +
      " tokens that these same weights have sampled, log-probabilities are " + std::to_string(gap) +
      " nats on average from those at sampling time, above trainer.logprob_gap_alarm = " +
      std::to_string(bound) + ": generators and learner do not compute the same policy");
}

}  // namespace tracewise
