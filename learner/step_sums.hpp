// What the updates of one training step add up to, on one rank or on all.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "learner/first_pass.hpp"
#include "learner/loss.hpp"
#include "learner/trainer.hpp"

namespace tracewise {

struct StepSums {
  // Of this rank's passes; merge() makes them those of all ranks.
  double policy[PolicyLoss::kSums] = {};
  FirstPass first;  // of all tokens that were computed before the weights changed
  double entropy = 0, pair_loss = 0;
  int64_t tokens = 0, pairs = 0;
  double ratio_max = 0;
  double exchange_seconds = 0;  // spent waiting for other ranks; merged: the ranks' mean

  // The same on all ranks.
  double loss = 0, grad_norm = 0, lr = 0;
  int64_t updates = 0, skipped = 0;
  int64_t ranks = 1;
  double busiest_tokens = 0, mean_tokens = 0;  // of a rank, summed over the updates

  void add_balance(std::span<const int64_t> rank_tokens);

  // What merge() needs of a rank.
  std::vector<double> numbers() const;
  // `all`: the numbers() of every rank, one behind the other.
  void merge(std::span<const double> all);

  TrainReport report(const TrainerOptions& options, int64_t optimizer_steps) const;

 private:
  void report_first_pass(const TrainerOptions& options, TrainReport& report) const;
};

}  // namespace tracewise
