#include "actors/train_step.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <string>
#include <utility>

namespace tracewise {
namespace {

GroupStats sum(std::span<const SampleGroup> groups) {
  GroupStats total;
  for (const SampleGroup& group : groups) {
    const GroupStats& s = group.stats;
    total.rollouts += s.rollouts;
    total.failures += s.failures;
    total.reward_sum += s.reward_sum;
    total.shaping_sum += s.shaping_sum;
    total.response_tokens += s.response_tokens;
    total.steps += s.steps;
    total.truncated += s.truncated;
    total.probed_rollouts += s.probed_rollouts;
    total.solving_tokens += s.solving_tokens;
    total.checking_tokens += s.checking_tokens;
    total.right_to_wrong += s.right_to_wrong;
    total.value_steps += s.value_steps;
    total.brier_sum += s.brier_sum;
    total.values += s.values;
    total.probe_tokens += s.probe_tokens;
    total.probe_seconds += s.probe_seconds;
    total.generate_seconds += s.generate_seconds;
    total.probed_by_other_weights += s.probed_by_other_weights;
  }
  return total;
}

class Metrics {
 public:
  void count(const char* name, double value) { metrics_.push_back({name, value}); }
  void ratio(const char* name, double above, double below) {
    if (below > 0) metrics_.push_back({name, above / below});
  }
  std::vector<Metric> take() { return std::move(metrics_); }

 private:
  std::vector<Metric> metrics_;
};

}  // namespace

std::vector<Metric> batch_metrics(std::span<const SampleGroup> groups) {
  const GroupStats s = sum(groups);
  double signal = 0, pairs = 0, kept = 0;
  for (const SampleGroup& group : groups) {
    signal += group.rollouts.empty() ? 0 : 1;
    pairs += static_cast<double>(group.pairs.size());
    kept += static_cast<double>(group.rollouts.size());
  }
  const double rollouts = s.rollouts, probed = s.probed_rollouts;
  const auto tokens = static_cast<double>(s.response_tokens);
  Metrics m;
  m.ratio("train/accuracy", s.reward_sum, rollouts);
  // Runs without shaping have no such metric.
  if (s.shaping_sum != 0) m.ratio("train/shaping", s.shaping_sum, rollouts);
  m.ratio("train/response_tokens", tokens, rollouts);
  m.ratio("train/steps_per_rollout", static_cast<double>(s.steps), rollouts);
  m.ratio("train/truncated", static_cast<double>(s.truncated), rollouts);
  m.ratio("train/solving_tokens", static_cast<double>(s.solving_tokens), probed);
  m.ratio("train/checking_tokens", static_cast<double>(s.checking_tokens), probed);
  m.ratio("train/right_to_wrong", static_cast<double>(s.right_to_wrong),
          static_cast<double>(s.value_steps));
  m.ratio("train/brier", s.brier_sum, static_cast<double>(s.values));
  m.ratio("train/probe_token_share", static_cast<double>(s.probe_tokens), tokens);
  m.count("train/probe_tokens", static_cast<double>(s.probe_tokens));
  m.count("train/probe_seconds", s.probe_seconds);
  m.count("train/generate_seconds", s.generate_seconds);
  m.count("train/probes_by_newer_weights", s.probed_by_other_weights);
  m.count("train/rollouts", rollouts);
  m.count("train/failures", s.failures);
  m.count("train/groups_with_signal", signal);
  m.count("train/groups_dropped", static_cast<double>(groups.size()) - signal);
  m.count("train/kept_rollouts", kept);
  m.count("train/step_pairs", pairs);
  return m.take();
}

std::vector<Metric> lag_metrics(std::span<const SampleGroup> groups, uint64_t version) {
  std::array<uint64_t, 5> counts = {};  // the last: of larger lags too
  double sum = 0, tokens = 0;
  uint64_t most = 0;
  for (const SampleGroup& group : groups) {
    for (const AdvantageRollout& rollout : group.rollouts) {
      for (const uint64_t sampled_by : rollout.versions) {
        const uint64_t lag = version - std::min(version, sampled_by);
        ++counts[std::min<uint64_t>(lag, counts.size() - 1)];
        sum += static_cast<double>(lag);
        most = std::max(most, lag);
        ++tokens;
      }
    }
  }
  std::vector<Metric> metrics;
  for (size_t lag = 0; lag < counts.size(); ++lag) {
    const char* more = lag + 1 < counts.size() ? "" : "_up";
    metrics.push_back(
        {"version_lag/" + std::to_string(lag) + more, static_cast<double>(counts[lag])});
  }
  if (tokens > 0) {
    metrics.push_back({"version_lag/mean", sum / tokens});
    metrics.push_back({"version_lag/max", static_cast<double>(most)});
  }
  return metrics;
}

Result<TrainReport> train_batch(Trainer& trainer, std::vector<SampleGroup> groups,
                                const AdvantageOptions& advantage, uint64_t version,
                                double progress, const std::filesystem::path& dump_dir) {
  std::vector<Metric> batch = batch_metrics(groups);
  std::ranges::move(lag_metrics(groups, version), std::back_inserter(batch));
  TrainReport report;
  const bool any_signal = std::any_of(groups.begin(), groups.end(),
                                      [](const SampleGroup& g) { return !g.rollouts.empty(); });
  if (any_signal) {
    finish_batch(groups, advantage);
    TW_ASSIGN(report, trainer.train(groups, version, progress, dump_dir));
  }
  report.metrics.insert(report.metrics.end(), batch.begin(), batch.end());
  return report;
}

}  // namespace tracewise
