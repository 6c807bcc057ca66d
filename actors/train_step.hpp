// One training batch, from sample groups to metrics: what the learner and the plain loop share.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "learner/sample_group.hpp"
#include "learner/trainer.hpp"
#include "messages/records.hpp"
#include "messages/result.hpp"

namespace tracewise {

// The diagnostics of algorithm.md over a batch, as ratios of the groups' sums: "train/accuracy",
// ... A ratio with nothing below its line is absent.
std::vector<Metric> batch_metrics(std::span<const SampleGroup> groups);

// How far the tokens of a batch that starts from weights `version` are behind it, in versions:
// "version_lag/0" .. "version_lag/3" and "version_lag/4_up" count them, all of them in every step
// so that each is a curve of its own; "version_lag/mean" and "/max" need a token.
std::vector<Metric> lag_metrics(std::span<const SampleGroup> groups, uint64_t version);

// Trains on `groups`, ascending by id, from weights `version`. A batch without any rollout leaves
// the weights as they are. Metrics are the trainer's and the batch's.
Result<TrainReport> train_batch(Trainer& trainer, std::vector<SampleGroup> groups,
                                const AdvantageOptions& advantage, uint64_t version,
                                double progress, const std::filesystem::path& dump_dir);

}  // namespace tracewise
