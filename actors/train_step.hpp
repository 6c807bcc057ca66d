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

// Trains on `groups`, ascending by id. A batch without any rollout leaves the weights as they are.
// Metrics are the trainer's and the batch's.
Result<TrainReport> train_batch(Trainer& trainer, std::vector<SampleGroup> groups,
                                const AdvantageOptions& advantage, double progress,
                                const std::filesystem::path& dump_dir);

}  // namespace tracewise
